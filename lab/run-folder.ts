import {
  appendFileSync,
  constants,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Lab } from './lab.ts'
import { type RunContents, writeProjectArchive } from './project-archive.ts'

const WEEK_MS = 7 * 24 * 3600 * 1000

/** Folder of one run: its initramfs, and the console log that stays when the run fails. */
export class RunFolder {
  readonly path: string

  constructor(runs: string) {
    sweep(runs)
    this.path = mkdtempSync(join(runs, `run-${process.pid}-`))
  }

  /** The initramfs, once written. */
  get initrd(): string {
    return join(this.path, 'initramfs.cpio')
  }

  /** The kernel's console, as QEMU writes it. */
  get consolePath(): string {
    return join(this.path, 'console.log')
  }

  /** What the kernel has printed so far. */
  readConsole(): string {
    return existsSync(this.consolePath) ? readFileSync(this.consolePath, 'utf8') : ''
  }

  /** Writes the initramfs: the kernel unpacks archives that stand one after the other. */
  writeInitrd(lab: Lab, contents: RunContents): void {
    const own = join(this.path, 'project.cpio')
    writeProjectArchive(own, lab, contents)
    const [first, ...others] = [...lab.archives, own]
    copyFileSync(first ?? own, this.initrd, constants.COPYFILE_FICLONE)
    for (const archive of others) appendFileSync(this.initrd, readFileSync(archive))
    rmSync(own)
  }

  /** Ends the run. A failed one leaves the console log. */
  finish(keepConsole: boolean): void {
    if (keepConsole) rmSync(this.initrd, { force: true })
    else rmSync(this.path, { recursive: true, force: true })
  }
}

// A process that was killed could not remove its initramfs; console logs are kept for a week.
function sweep(runs: string): void {
  for (const name of readdirSync(runs)) {
    const path = join(runs, name)
    const pid = /^run-(\d+)-/.exec(name)?.[1]
    if (pid !== undefined && existsSync(`/proc/${pid}`)) continue
    for (const file of ['initramfs.cpio', 'project.cpio']) rmSync(join(path, file), { force: true })
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat !== undefined && Date.now() - stat.mtimeMs > WEEK_MS)
      rmSync(path, { recursive: true, force: true })
  }
}
