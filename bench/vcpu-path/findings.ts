/** What the profiles of the vCPU's path said; numbers in it were measured when it was written. */
export const FINDINGS = ''
