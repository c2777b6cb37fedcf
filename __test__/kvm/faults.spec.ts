import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { SeawallError } from 'seawall'
import { LinuxGuest } from '../../scripts/linux-guest.ts'
import { quarantineMethod, taken, title } from '../behaviours/quarantine.ts'
import { Guest } from './guest.ts'
import { Injector } from './injector.ts'
import { inSignalStorm } from './signal-storm.ts'

const MIB = 2n ** 20n
const RAM = 0x8000_0000n
const PAGE = 4096n
/** How many pages of a VM are taken at most. */
const LIMIT = 4096

/** Where pages are taken by holes, this many are a slot each. */
const withHoles = quarantineMethod === 'memslot-hole' ? [test.serial] : []
const withUserfaultfd = quarantineMethod === 'memslot-hole' ? [] : [test.serial]

test.serial(title('a storm of signals on every thread of a VM takes nothing from its guest'), async (t) => {
  using injector = new Injector()
  const raised = await inSignalStorm(async () => {
    for (let round = 0; round < 3; round += 1) {
      injector.arm('fsc=0x10 count=1')
      await using guest = await Guest.create('touch-again')
      await guest.vm.start()
      t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
      t.true(guest.console.endsWith('done\n'), guest.console)
      t.is(guest.failures.length, 7)
      for (const failure of guest.failures)
        t.like(failure, { quarantine: taken, injection: { result: 'ok' } })
    }
  })
  t.log(`${raised} signals`)
  // Far more than the aborts, however busy the machine is.
  t.true(raised > 200, String(raised))
})

test.serial(
  title('a storm of signals on every thread of a VM interrupts nothing that it is asked'),
  async (t) => {
    let interrupted = 0n
    const raised = await inSignalStorm(async () => {
      for (let round = 0; round < 3; round += 1) {
        // With an interrupt controller, which is ioctls of its own.
        await using linux = await LinuxGuest.create({ vcpus: 2 })
        await using guest = await Guest.create('spin', { vcpus: 4, onReset: 'restart' })
        const { vm } = guest
        await vm.start()
        for (let page = 0n; page < 8n; page += 1n) {
          const gpa = RAM + MIB + 2n * page * PAGE
          await vm.reportPoison(gpa, 1)
          await vm.pause()
          for (const vcpu of vm.vcpus) {
            await vcpu.setRegister('x7', page)
            t.is(await vcpu.getRegister('x7'), page)
          }
          await vm.resume()
          t.throws(() => vm.memory.read(gpa, 8), { code: 'ERR_POISONED_PAGE' })
          if (page % 2n === 0n) await vm.replacePage(gpa)
          vm.memory.write(gpa + PAGE, new Uint8Array(4096).fill(Number(page)))
          t.is(vm.memory.read(gpa + PAGE + 4095n, 1)[0], Number(page))
        }
        t.deepEqual(
          vm.poisonedPages().map(({ state }) => state),
          [0, 1, 2, 3, 4, 5, 6, 7].map((page) => (page % 2 === 0 ? 'replaced' : 'quarantined')),
        )
        interrupted += vm.stats().exits['intr'] ?? 0n
        await vm.stop()
        t.deepEqual(linux.vm.state, 'created')
      }
    })
    t.log(`${raised} signals, ${interrupted} times out of the guest by them and by kicks`)
    t.true(raised > 500, String(raised))
    t.true(interrupted > 100n, String(interrupted))
  },
)

for (const declare of withHoles)
  declare(
    title('a VM that has lost as many pages as can be taken goes on, and so do the others'),
    async (t) => {
      using injector = new Injector()
      await using other = await Guest.create('spin')
      await other.vm.start()
      await using guest = await Guest.create('read-el1', { memory: 64 * 2 ** 20 })
      // Every other page, so that each is a hole of its own where pages are taken by holes.
      const pages = Array.from({ length: LIMIT }, (_, index) => RAM + 4n * MIB + BigInt(index) * 2n * PAGE)
      await Promise.all(pages.map((gpa) => guest.vm.reportPoison(gpa, 1)))
      const one = RAM + 60n * MIB
      const error = await t.throwsAsync(guest.vm.reportPoison(one, 1), {
        instanceOf: SeawallError,
        code: 'ERR_QUARANTINE',
      })
      t.regex(error?.message ?? '', new RegExp(`${LIMIT} pages of this VM are in quarantine already`))
      // It still gets its aborts: of a page that could not be taken each access consumes the error.
      injector.arm('fsc=0x10 count=1')
      await guest.vm.start()
      t.deepEqual(await guest.finish(), { reason: 'shutdown', vcpu: 0 })
      t.true(guest.console.includes('exception vector=0x200 esr=0x0000000096000010'), guest.console)
      const failure = guest.failures.find(({ source }) => source === 'sea')
      t.like(failure, { quarantine: null, injection: { result: 'ok' }, page: { state: 'poisoned' } })
      t.regex(failure?.reason ?? '', /the page is still in reach/)
      // The limit is one VM's.
      await other.vm.reportPoison(RAM + MIB, 1)
      t.deepEqual(
        other.vm.poisonedPages().map(({ state }) => state),
        ['quarantined'],
      )
      t.is(other.vm.state, 'running')
    },
  )

for (const declare of withUserfaultfd)
  declare(
    title('a VM that finds no file for itself is refused by KVM too, and the others are unharmed'),
    async (t) => {
      const child = fileURLToPath(new URL('../faults/child.js', import.meta.url))
      const stdout = await new Promise<string>((resolve, reject) => {
        const command = ['-c', 'ulimit -n 96 && exec "$0" "$1" files kvm', process.execPath, child]
        const running = execFile('sh', command, (error, out, err) => {
          if (error === null) resolve(out)
          else reject(new Error(`${error.message}\n${out}${err}`))
        })
        running.stdin?.end('go\n')
      })
      const said = (name: string) =>
        [...stdout.matchAll(new RegExp(`^${name} (.*)$`, 'gm'))].map(([, text]) => text ?? '')
      const created = said('create')
      t.log(created.join(', '))
      t.is(created.pop(), 'none')
      for (const wanted of ['memfd_create', 'open(/dev/kvm)', 'KVM_CREATE_VM'])
        t.true(created.includes(`ERR_OUT_OF_RESOURCES ${wanted} EMFILE`), wanted)
      for (const outcome of created) t.regex(outcome, /^ERR_OUT_OF_RESOURCES( \S+)? EMFILE$/)
      t.deepEqual(said('leaked'), ['0'])
    },
  )
