/**
 * How lost pages are taken away in this process: by userfaultfd, unless whoever runs the specs has denied it and says what
 * takes its place.
 */
export const quarantineMethod =
  process.env['SEAWALL_QUARANTINE'] === 'memslot-hole' ? 'memslot-hole' : 'userfaultfd'

/** What an event says of a page that was taken away. */
export const taken = { method: quarantineMethod, granule: 4096 } as const

/** What an event says of a data access to a page that was taken away before. */
export const touched = {
  source: 'quarantined-page',
  abort: null,
  gva: null,
  signal: quarantineMethod === 'userfaultfd' ? ({ code: 'BUS_MCEERR_AR', lsb: 12 } as const) : null,
} as const

/** The name of a test, which says how lost pages are taken away where that is not the usual way. */
export function title(claim: string): string {
  return quarantineMethod === 'userfaultfd' ? claim : `without userfaultfd: ${claim}`
}
