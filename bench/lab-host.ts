import type { LabResult } from '../lab/lab.ts'

/** The lab as the host of a part, in words. */
export function labHost(
  { kernelVersion, qemuVersion }: Pick<LabResult, 'kernelVersion' | 'qemuVersion'>,
  icount: boolean,
): string {
  const counted = icount ? ', one processor whose instructions are counted (icount)' : ''
  return `the lab: Linux ${kernelVersion}, QEMU ${qemuVersion}${counted}`
}
