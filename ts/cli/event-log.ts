import { closeSync, createWriteStream, fstatSync, openSync, writeSync } from 'node:fs'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { invalidOption } from '../errors.ts'
import type { VmEvent } from '../events.ts'
import { jsonReplacer } from '../json.ts'

/** Where a line goes. */
interface Sink {
  write(line: string): void | Promise<void>
  close(): void
}

/** A log of events as NDJSON: one line of JSON each. */
export class EventLog {
  readonly #sink: Sink

  private constructor(sink: Sink) {
    this.#sink = sink
  }

  /**
   * Opens a log: a file, to whose end the lines go, a pipe or a terminal, or `-` for standard output. Waits for somebody to read
   * a named pipe.
   *
   * @throws {@link SeawallError} `ERR_INVALID_OPTION` where it cannot be opened.
   */
  static open(path: string): EventLog {
    if (path === '-') return new EventLog(new StreamSink(process.stdout))
    let file: number
    try {
      file = openSync(path, 'a')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw invalidOption(`a file that can be written (${code})`, '--events', path)
    }
    const kind = fstatSync(file)
    if (kind.isFile()) return new EventLog(new FileSink(file))
    const stream = kind.isFIFO()
      ? new Socket({ fd: file, readable: false, writable: true })
      : createWriteStream(path, { fd: file })
    return new EventLog(new StreamSink(stream))
  }

  /**
   * Writes events until there are no more, and closes the log. A log that cannot be written any more is no reason to end a
   * guest: it ends at a whole line or in the middle of one, and `onFailure` is told, once.
   */
  async follow(events: AsyncIterable<VmEvent>, onFailure: (code: string) => void): Promise<void> {
    let failed = false
    for await (const event of events) {
      if (failed) continue
      try {
        await this.#sink.write(`${JSON.stringify(event, jsonReplacer)}\n`)
      } catch (error) {
        failed = true
        onFailure((error as NodeJS.ErrnoException).code ?? String(error))
      }
    }
    this.#sink.close()
  }

  /** Closes a log that nothing was written to. */
  close(): void {
    this.#sink.close()
  }
}

/** A file. Writing waits for the kernel, so that a line is in the file before anything else happens. */
class FileSink implements Sink {
  readonly #file: number

  constructor(file: number) {
    this.#file = file
  }

  write(line: string): void {
    const bytes = Buffer.from(line)
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#file, bytes, written)
    }
  }

  close(): void {
    closeSync(this.#file)
  }
}

/**
 * A pipe or a device, such as a terminal. Nobody waits for its reader but the log: one that is too slow loses the oldest
 * events, and an `events-lost` says which.
 */
class StreamSink implements Sink {
  readonly #stream: Writable

  constructor(stream: Writable) {
    this.#stream = stream
    // Told to whoever writes.
    stream.on('error', () => {})
  }

  write(line: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(line, (error) => (error ? reject(error) : resolve()))
    })
  }

  close(): void {
    if (this.#stream !== process.stdout) this.#stream.end()
  }
}
