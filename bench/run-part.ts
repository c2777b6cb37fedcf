// Runs the part that the first argument names, at the scale that the second one says, and prints what it measured as JSON.
import { parts } from './parts.ts'

const [name, scale] = process.argv.slice(2)
const part = parts.find((part) => part.name === name)
if (part === undefined) throw new Error(`Expected a part but received ${name}`)
try {
  const measured = await part.run(Number(scale))
  process.stdout.write(`${JSON.stringify('host' in measured ? measured : { measurements: measured })}\n`)
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error)
  process.stdout.write(`${JSON.stringify({ reason })}\n`)
}
