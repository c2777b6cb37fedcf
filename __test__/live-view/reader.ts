// Reads the live view at the address that it is given until that ends, and says what it was told.
import { PageConnection } from './page-connection.ts'

const page = (await PageConnection.open(process.argv[2] ?? '')).read()
console.error('reads')
await page.ended
console.log(JSON.stringify({ events: page.of('event').length, lost: page.lost }))
