import { jsonReplacer } from '../json.ts'
import { Vm } from '../vm.ts'
import type { Command, Surroundings } from './command.ts'
import { complain } from './complaint.ts'
import { ESCAPE_HELP } from './escape.ts'
import { EventLog } from './event-log.ts'
import { GUEST_EXIT_CODE } from './exit-code.ts'
import { LiveView } from './live-view/live-view.ts'
import { parseArguments, refusePositionals } from './options.ts'
import { RUN_OPTIONS, type RunOptions, toRunOptions } from './run-options.ts'
import { Session } from './session.ts'

/** `seawall run`: runs a guest. */
export const run: Command = {
  usage: 'seawall run (--kernel <file> | --flat <file> | --simulated) [options]',
  summary: 'runs a guest, with its console on the terminal',
  description: `Runs an arm64 KVM guest until it ends. Its console is standard output and standard input, every byte of it; what Seawall
has to say goes to standard error. The end of standard input does not end the guest.

A terminal is put into raw mode, in which all keys go to the guest but these:
${ESCAPE_HELP.replace(/^/gm, '  ')}

SIGINT, SIGTERM, SIGHUP and SIGQUIT stop the guest in good order; a second one ends the tool at once.`,
  options: RUN_OPTIONS,
  exitCodes: [
    [`${GUEST_EXIT_CODE.shutdown}`, 'the guest has shut down'],
    ['1', 'the guest could not be started'],
    ['2', 'an option is wrong'],
    [`${GUEST_EXIT_CODE.reset}`, 'the guest asked for a reset (--on-reset exit)'],
    [`${GUEST_EXIT_CODE.crash}`, 'the guest has crashed'],
    [`${GUEST_EXIT_CODE.policy}`, 'a memory error has ended the guest, as --policy or --threshold say'],
    [`${GUEST_EXIT_CODE.failed}`, 'the guest cannot go on: KVM or the host has failed'],
    [`${GUEST_EXIT_CODE.requested}`, 'the guest was ended by Ctrl-a x'],
    ['128+n', 'signal n: 130 for SIGINT, 143 for SIGTERM'],
  ],
  examples: [
    [
      'seawall run --kernel Image --initrd initrd.img --memory 512M --vcpus 2 --events events.ndjson',
      'Linux on two vCPUs, with a log of its events',
    ],
    [
      'seawall run --kernel Image --no-console --events - | jq --unbuffered \'select(.type == "memory-failure").gpa\'',
      'the addresses of memory errors, as they come',
    ],
    [
      'seawall run --kernel Image --policy pause --threshold 16:stop',
      'a guest that waits where memory is lost, and ends with the 16th page',
    ],
    ['seawall run --flat guest.bin --memory 4M --json 2>end.json', 'a flat binary, and how it ended'],
    [
      'seawall run --kernel Image --initrd initrd.img --ui',
      'Linux, and a page that shows what happens to its memory',
    ],
    ['seawall run --simulated --ui', 'the same page for a guest that a script plays, on any machine'],
  ],

  async run(args, surroundings) {
    const { values, positionals } = parseArguments('seawall run', RUN_OPTIONS, args)
    refusePositionals('seawall run', positionals)
    const options = toRunOptions(values)
    try {
      return await runGuest(options, surroundings)
    } catch (error) {
      if (!options.json) throw error
      const exitCode = complain(error, 'seawall run')
      const nothing = {
        vm: null,
        exit: null,
        signal: null,
        memoryFailures: 0,
        lostPages: 0,
        unretiredHostPages: 0,
      }
      process.stderr.write(`${JSON.stringify({ exitCode, error, ...nothing }, jsonReplacer)}\n`)
      return exitCode
    }
  },
}

async function runGuest(options: RunOptions, { backend }: Surroundings): Promise<number> {
  const log = options.events === null ? null : EventLog.open(options.events)
  let vm: Vm
  try {
    vm = await Vm.create({ ...options.vm, ...(backend === undefined ? {} : { backend }) })
  } catch (error) {
    log?.close()
    throw error
  }
  let view: LiveView | null
  try {
    view =
      options.ui === null ? null : await LiveView.open(vm, { memory: options.vm.memory, port: options.ui })
  } catch (error) {
    await vm.close()
    log?.close()
    throw error
  }
  return await new Session(vm, options).run(log, view)
}
