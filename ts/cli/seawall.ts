#!/usr/bin/env node
import { main } from './main.ts'

// No process.exit(): what was written to a pipe must still go out.
process.exitCode = await main(process.argv.slice(2))
