// `npm run docs`: docs/ and the API reference as a site of static pages in site/, with all its links checked.
import { writeDiagram } from './docs/build.ts'
import { makeSite } from './docs/site.ts'
import { main } from './step.ts'

await main(async () => {
  writeDiagram()
  await makeSite()
})
