import { parseArgs } from 'node:util'
import { invalidOption, SeawallError } from '../errors.ts'

/** An option of a command. */
export interface Option {
  /** What its value is called; absent for a flag. */
  readonly value?: string
  /** It may be left out. */
  readonly optional?: true
  /** Its letter. */
  readonly short?: string
  /** What it does, for the help. */
  readonly help: string
}

/** The values of the options that were given. */
export type Values<Options extends Record<string, Option>> = {
  [Name in keyof Options]?: Options[Name] extends { value: string; optional: true }
    ? string | true
    : Options[Name] extends { value: string }
      ? string
      : true
}

/** What a command was given. */
export interface Arguments<Options extends Record<string, Option>> {
  readonly values: Values<Options>
  readonly positionals: readonly string[]
}

/** The option that every command has. */
export const HELP = { help: { short: 'h', help: 'this text' } } as const satisfies Record<string, Option>

/**
 * Parses a command's arguments. parseArgs() finds the tokens; the complaints are ours, in the form that all of Seawall's have.
 *
 * @throws {@link SeawallError} `ERR_INVALID_OPTION`.
 */
export function parseArguments<const Options extends Record<string, Option>>(
  command: string,
  options: Options,
  args: readonly string[],
): Arguments<Options> {
  const { tokens } = parseArgs({
    args: [...args],
    options: Object.fromEntries(
      Object.entries<Option>(options).map(([name, { value, optional, short }]) => [
        name,
        {
          type: value === undefined || optional ? 'boolean' : 'string',
          ...(short === undefined ? {} : { short }),
        },
      ]),
    ),
    strict: false,
    tokens: true,
    allowPositionals: true,
  })
  const values: Record<string, string | true> = {}
  const positionals: string[] = []
  // A word that follows an option whose value may be left out is that value.
  let open: { name: string; index: number } | undefined
  for (const token of tokens) {
    if (token.kind === 'positional') {
      if (open !== undefined && token.index === open.index + 1) values[open.name] = token.value
      else positionals.push(token.value)
    }
    open = undefined
    if (token.kind !== 'option') continue
    const { name, rawName, value, inlineValue, index } = token
    const option = Object.hasOwn(options, name) ? options[name] : undefined
    if (option === undefined) throw invalidOption('an option', command, rawName)
    if (option.optional && value === undefined) {
      values[name] = true
      open = { name, index }
    } else values[name] = check(rawName, option.value, value, inlineValue === true)
  }
  return { values: values as Values<Options>, positionals }
}

function check(name: string, wanted: string | undefined, value: string | undefined, inline: boolean) {
  if (wanted === undefined) {
    if (value === undefined) return true
    throw invalidOption('no value', name, value)
  }
  if (value === undefined) throw missing(`a value (${wanted})`, name)
  // `--name --json` is a value that was forgotten; `--name=--json` is not. A dash alone means a standard stream.
  if (!inline && value.startsWith('-') && value !== '-') {
    throw invalidOption(`a value (${wanted})`, name, value)
  }
  return value
}

/** Makes the error of something that was not given. */
export function missing(expected: string, what: string): SeawallError {
  return new SeawallError('ERR_INVALID_OPTION', `Expected ${expected} for ${what} but received nothing`)
}

/** Refuses arguments that are no options. */
export function refusePositionals(command: string, positionals: readonly string[]): void {
  if (positionals.length > 0) throw invalidOption('options only', command, positionals[0])
}
