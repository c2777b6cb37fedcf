import { closeSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { posix } from 'node:path'
import { filesBelow } from './fingerprint.ts'

const DIRECTORY = 0o040000
const FILE = 0o100000
const SYMLINK = 0o120000

/** Writes a cpio archive in the "newc" form that the kernel unpacks as initramfs. All owners are root, all times 0. */
export class CpioWriter {
  readonly #fd: number
  readonly #folders = new Set<string>(['.', '/'])
  #inode = 0

  constructor(path: string) {
    this.#fd = openSync(path, 'w')
  }

  /** Adds a folder and the folders above it. */
  folder(path: string): void {
    const name = relative(path)
    if (this.#folders.has(name)) return
    this.folder(posix.dirname(name))
    this.#folders.add(name)
    this.#entry(name, DIRECTORY | 0o755, Buffer.alloc(0))
  }

  /** Adds a regular file. */
  file(path: string, content: Uint8Array, mode = 0o644): void {
    this.#below(path, FILE | mode, content)
  }

  /** Adds a copy of a file of this machine, executable if `mode` says so. */
  copy(path: string, from: string, mode = 0o644): void {
    this.file(path, readFileSync(from), mode)
  }

  /** Adds the regular files below a folder of this machine, with their execute bits. */
  tree(path: string, from: string, skip: (name: string) => boolean = () => false): void {
    for (const file of filesBelow(from, skip)) {
      const mode = (statSync(file).mode & 0o111) === 0 ? 0o644 : 0o755
      this.copy(posix.join(path, file.slice(from.length)), file, mode)
    }
  }

  /** Adds a symbolic link. */
  link(path: string, target: string): void {
    this.#below(path, SYMLINK | 0o777, Buffer.from(target))
  }

  /** Ends the archive. */
  close(): void {
    this.#entry('TRAILER!!!', 0, Buffer.alloc(0))
    closeSync(this.#fd)
  }

  #below(path: string, mode: number, content: Uint8Array): void {
    const name = relative(path)
    this.folder(posix.dirname(name))
    this.#entry(name, mode, content)
  }

  #entry(name: string, mode: number, content: Uint8Array): void {
    this.#inode += 1
    const nameBytes = Buffer.from(`${name}\0`)
    // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    const fields = [this.#inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, nameBytes.length, 0]
    const header = Buffer.from(`070701${fields.map((value) => value.toString(16).padStart(8, '0')).join('')}`)
    this.#write(Buffer.concat([header, nameBytes, padding(header.length + nameBytes.length)]))
    this.#write(content)
    this.#write(padding(content.length))
  }

  #write(bytes: Uint8Array): void {
    let written = 0
    while (written < bytes.length) written += writeSync(this.#fd, bytes, written)
  }
}

function relative(path: string): string {
  return posix.normalize(path).replace(/^\/+/, '') || '.'
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4)
}
