import { closeSync } from 'node:fs'
import { isatty } from 'node:tty'
import { invalidOption } from '../errors.ts'
import { version } from '../version.ts'
import type { Command, Surroundings } from './command.ts'
import { complain } from './complaint.ts'
import { doctor } from './doctor.ts'
import { esr } from './esr.ts'
import { EXIT_CODE } from './exit-code.ts'
import { commandHelp, toolHelp } from './help.ts'
import { run } from './run.ts'

const COMMANDS: Readonly<Record<string, Command>> = { run, doctor, esr }

/** Runs the tool. Answers the exit code, and has said by then what went wrong. */
export async function main(args: readonly string[], surroundings: Surroundings = {}): Promise<number> {
  // Who reads may go away at any time: `seawall esr … | head -1`.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  outliveTerminals()
  const [name, ...rest] = args
  try {
    return await dispatch(name, rest, surroundings)
  } catch (error) {
    return complain(
      error,
      name !== undefined && Object.hasOwn(COMMANDS, name) ? `seawall ${name}` : 'seawall',
    )
  }
}

/** Lets the process end well where a terminal that it began with has hung up: some releases of Node abort (nodejs/node#51519). */
function outliveTerminals(): void {
  const terminals = [0, 1, 2].filter((file) => isatty(file))
  process.on('exit', () => {
    for (const file of terminals.filter((found) => !isatty(found))) closeSync(file)
  })
}

async function dispatch(
  name: string | undefined,
  args: readonly string[],
  surroundings: Surroundings,
): Promise<number> {
  switch (name) {
    case undefined:
      process.stderr.write(toolHelp(COMMANDS))
      return EXIT_CODE.usage
    case '-h':
    case '--help':
    case 'help':
      process.stdout.write(args[0] === undefined ? toolHelp(COMMANDS) : commandHelp(find(args[0])))
      return EXIT_CODE.ok
    case '-V':
    case '--version':
      process.stdout.write(`${version()}\n`)
      return EXIT_CODE.ok
    default: {
      const command = find(name)
      // Help is asked for also where something else is wrong; behind `--` nothing is an option.
      const end = args.indexOf('--')
      const options = end === -1 ? args : args.slice(0, end)
      if (options.includes('--help') || options.includes('-h')) {
        process.stdout.write(commandHelp(command))
        return EXIT_CODE.ok
      }
      return await command.run(args, surroundings)
    }
  }
}

function find(name: string): Command {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (command === undefined)
    throw invalidOption(
      Object.keys(COMMANDS)
        .join(', ')
        .replace(/, (?=[^,]*$)/, ' or '),
      'the command',
      name,
    )
  return command
}
