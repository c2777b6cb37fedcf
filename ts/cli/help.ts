import type { Command } from './command.ts'
import type { Option } from './options.ts'

/** How far the second column is to the right. */
const COLUMN = 26

/** The help of the tool. */
export function toolHelp(commands: Readonly<Record<string, Command>>): string {
  const summaries = Object.entries(commands).map(([name, { summary }]) => line(name, summary))
  return `Seawall runs arm64 KVM guests and contains the memory errors they consume.

Usage: seawall <command> [options]

Commands:
${summaries.join('\n')}
${line('help [<command>]', 'this text, or that of a command')}

Options:
${line('-h, --help', 'this text, or that of a command')}
${line('-V, --version', 'the version')}

Examples:
  seawall doctor
  seawall run --kernel Image --initrd initrd.img --memory 512M
  seawall run --simulated --ui
  seawall esr 0x92000610
`
}

/** The help of a command. */
export function commandHelp(command: Command): string {
  const { usage, description, options, exitCodes, examples } = command
  const parts = [
    `Usage: ${usage}`,
    description,
    [
      'Options:',
      ...Object.entries(options).map(([name, option]) => line(spelling(name, option), option.help)),
    ],
    ...(exitCodes === undefined
      ? []
      : [['Exit codes:', ...exitCodes.map(([code, meaning]) => line(code, meaning))]]),
    ['Examples:', ...examples.flatMap(([example, what]) => [`  # ${what}`, `  ${example}`])],
  ]
  return `${parts.map((part) => (typeof part === 'string' ? part : part.join('\n'))).join('\n\n')}\n`
}

function spelling(name: string, { short, value, optional }: Option): string {
  const argument = value === undefined ? '' : optional ? ` [${value}]` : ` <${value}>`
  return `${short === undefined ? '' : `-${short}, `}--${name}${argument}`
}

function line(left: string, right: string): string {
  const [first = '', ...rest] = right.split('\n')
  const gap = left.length + 2 < COLUMN ? ' '.repeat(COLUMN - left.length - 2) : `\n${' '.repeat(COLUMN)}`
  return [`  ${left}${gap}${first}`, ...rest.map((more) => ' '.repeat(COLUMN) + more)].join('\n')
}
