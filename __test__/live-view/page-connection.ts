import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { Json, Messages } from '#cli/live-view/wire'

/** What the view has told, with the id that a browser would send back. */
export type Told = {
  [Name in keyof Messages]: { name: Name; id: string | null; data: Json<Messages[Name]> }
}[keyof Messages]

/** A page that listens, without a browser. */
export class PageConnection {
  readonly told: Told[] = []
  /** All that the guest has printed, as far as it was told. */
  printed = ''
  /** Fulfilled when the server has ended the stream. */
  readonly ended: Promise<void>
  readonly #request: ClientRequest
  readonly #response: IncomingMessage
  #rest = ''
  #changed = () => {}

  private constructor(sent: ClientRequest, response: IncomingMessage) {
    this.#request = sent
    this.#response = response
    // That it was cut off is an end too.
    response.on('error', () => {})
    this.ended = new Promise((resolve) => response.once('close', resolve))
  }

  /** Opens the stream of the view at an address, from where a connection had come to. */
  static async open(url: string, lastEventId?: string): Promise<PageConnection> {
    const headers = lastEventId === undefined ? {} : { 'last-event-id': lastEventId }
    const sent = request(new URL('stream', url), { agent: false, headers })
    sent.on('error', () => {})
    sent.end()
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    if (response.statusCode !== 200) throw new Error(`the stream answers ${response.statusCode}`)
    return new PageConnection(sent, response)
  }

  /** Begins to read. Until then nothing is taken from the socket but what the kernel takes. */
  read(): this {
    this.#response.setEncoding('utf8').on('data', (text: string) => {
      const frames = (this.#rest + text).split('\n\n')
      this.#rest = frames.pop() ?? ''
      for (const frame of frames) this.#take(frame)
      this.#changed()
    })
    return this
  }

  #take(frame: string): void {
    const fields = new Map(
      frame.split('\n').map((line) => {
        const colon = line.indexOf(': ')
        return [line.slice(0, colon), line.slice(colon + 2)] as const
      }),
    )
    const name = fields.get('event')
    if (name === undefined) return
    const data = JSON.parse(fields.get('data') ?? '')
    if (name === 'console') this.printed += data.text
    this.told.push({ name, id: fields.get('id') ?? null, data } as Told)
  }

  /** Waits until what was told is enough. */
  async until(isEnough: (told: readonly Told[]) => boolean): Promise<void> {
    while (!isEnough(this.told)) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#changed = resolve
        }),
        this.ended.then(() => {
          if (!isEnough(this.told)) throw new Error(`the stream has ended after ${this.told.length} messages`)
        }),
      ])
    }
  }

  /** What was told under one name. */
  of<Name extends keyof Messages>(name: Name): Json<Messages[Name]>[] {
    return this.told.flatMap((message) =>
      message.name === name ? [message.data as Json<Messages[Name]>] : [],
    )
  }

  /** How much was lost to it. */
  get lost(): { events: number; characters: number } {
    const sum = { events: 0, characters: 0 }
    for (const { events, characters } of this.of('lost')) {
      sum.events += events
      sum.characters += characters
    }
    return sum
  }

  close(): void {
    this.#request.destroy()
  }
}
