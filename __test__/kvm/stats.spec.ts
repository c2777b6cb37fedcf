import test from 'ava'
import { Vm, type VmEvent } from 'seawall'
import { Injector } from './injector.ts'

test.serial(
  'exits, failures and events are counted, and a redacted event says neither where nor in which state',
  async (t) => {
    const injector = new Injector()
    try {
      injector.arm('fsc=0x10 count=1')
      const boot = { type: 'flat', image: 'build/guests/read-twice.bin' } as const
      await using vm = await Vm.create({ memory: 4 * 2 ** 20, boot, redact: true })
      let written = 0
      vm.console.on('data', (chunk) => {
        written += chunk.length
      })
      const stream = vm.events()
      await vm.start()
      t.is((await vm.wait()).reason, 'shutdown')
      await vm.close()
      const events: VmEvent[] = []
      for await (const event of stream) events.push(event)
      t.deepEqual(vm.stats(), {
        exits: {
          mmio: BigInt(written),
          'arm-sea': 1n,
          'arm-nisv': 0n,
          'arm-ldst64b': 0n,
          'memory-fault': 0n,
          'system-event': 1n,
          intr: 0n,
          sigbus: 1n,
          'fail-entry': 0n,
          'internal-error': 0n,
          other: 0n,
        },
        failures: 2n,
        delivered: BigInt(events.length),
        lost: 0n,
        consoleBytesLost: 0n,
        decisions: { asked: 0n, late: 0n, fallback: 0n, waitedNs: 0n },
      })
      t.true(written > 0)
      const failures = events.filter(({ type }) => type === 'memory-failure')
      for (const failure of failures) {
        t.like(failure, {
          gva: null,
          gpa: 0x8010_0000n,
          consumer: { mode: 'kernel', pc: null, pstate: null },
        })
      }
      t.is(failures.length, 2)
    } finally {
      injector[Symbol.dispose]()
    }
  },
)
