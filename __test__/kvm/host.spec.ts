import { execFile } from 'node:child_process'
import { chmodSync, existsSync, renameSync, statSync } from 'node:fs'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { probeHost, SeawallError, Vm } from 'seawall'
import { Injector } from './injector.ts'

/** Which of the lab's hosts this is: `active`, `inert` (no FEAT_RAS) or `unsupported` (Linux 6.12). */
const host = process.env['SEAWALL_HOST']
const guest = (name: string) =>
  ({ memory: 4 * 2 ** 20, boot: { type: 'flat', image: `build/guests/${name}.bin` } }) as const

async function rejects(t: ExecutionContext, promise: Promise<unknown>, code: string, message: RegExp) {
  const error = await t.throwsAsync(promise, { instanceOf: SeawallError, message })
  t.is<string | undefined, string>((error as SeawallError).code, code)
}

test.serial(`the probe says ${host}`, (t) => {
  const support = probeHost()
  t.is<string | undefined, string>(host, support.status)
  const { armSeaToUser, ras, injectExtDabt, nisvToUser } = support.capabilities
  t.true(injectExtDabt && nisvToUser)
  switch (support.status) {
    case 'active':
      t.deepEqual(support.reasons, [])
      t.true(armSeaToUser && ras)
      break
    case 'inert':
      t.regex(support.reasons.join(), /^the CPUs have no FEAT_RAS \(capability 158 is 0\)/)
      t.true(armSeaToUser && !ras)
      break
    case 'unsupported':
      t.regex(
        support.reasons.join(),
        /no KVM_CAP_ARM_SEA_TO_USER \(capability 245\): it needs Linux 6\.19 or newer$/,
      )
      t.regex(support.kernel, /^6\.12\./)
      t.false(armSeaToUser)
  }
})

if (host === 'active') {
  const inChild = async (source: string, uid?: number) => {
    const args = ['--input-type=module', '--eval', source]
    const { stdout } = await promisify(execFile)(
      process.execPath,
      args,
      uid === undefined ? {} : { uid, gid: uid },
    )
    return stdout.trim()
  }
  const createInChild = `
    import { probeHost, Vm } from 'seawall'
    try { await Vm.create({ memory: 4096, boot: { type: 'flat', image: new Uint8Array(4) } }) }
    catch ({ code, message }) { console.log([code, message, probeHost().status, ...probeHost().reasons].join('|')) }`

  test.serial('without /dev/kvm the reason is named', async (t) => {
    renameSync('/dev/kvm', '/dev/kvm-away')
    try {
      const [code, message, status, reason] = (await inChild(createInChild)).split('|')
      t.deepEqual([code, status], ['ERR_UNSUPPORTED_HOST', 'unsupported'])
      t.regex(message ?? '', /^this host cannot run a KVM guest: there is no \/dev\/kvm: /)
      t.regex(reason ?? '', /^there is no \/dev\/kvm: /)
    } finally {
      renameSync('/dev/kvm-away', '/dev/kvm')
    }
  })

  test.serial('without permission the remedy is named', async (t) => {
    const { mode } = statSync('/dev/kvm')
    chmodSync('/dev/kvm', 0o600)
    try {
      const [code, message, status] = (await inChild(createInChild, 65534)).split('|')
      t.deepEqual([code, status], ['ERR_KVM_PERMISSION', 'unsupported'])
      t.regex(
        message ?? '',
        /^\/dev\/kvm may not be opened \(EACCES\): this user may not open \/dev\/kvm: add it to the group/,
      )
    } finally {
      chmodSync('/dev/kvm', mode)
    }
  })

  test.serial('secondary vCPUs wait for PSCI CPU_ON', async (t) => {
    await using vm = await Vm.create({ ...guest('two-vcpus'), vcpus: 2 })
    let text = ''
    vm.console.on('data', (chunk) => {
      text += chunk
    })
    await vm.start()
    t.deepEqual(await vm.wait(), { reason: 'shutdown', vcpu: 1 })
    t.regex(text, /^cpu=0\n(?:.*\n)*cpu=1\ndone\n$/)
  })

  test.serial('two vCPUs consume one lost page at the same time, and every abort is told', async (t) => {
    const injector = new Injector()
    injector.arm('fsc=0x10')
    const memoryFailure = { sameFaultLimit: 1000 }
    await using vm = await Vm.create({ ...guest('two-readers'), vcpus: 2, memoryFailure })
    const aborts = [0, 0]
    let distinctPages = 0
    vm.on('memory-failure', (event) => {
      aborts[event.vcpu ?? 0] = (aborts[event.vcpu ?? 0] ?? 0) + 1
      distinctPages = event.ledger.distinctPages
    })
    await vm.start()
    t.is((await vm.wait()).reason, 'shutdown')
    t.deepEqual(aborts, [200, 200])
    t.is(distinctPages, 1)
    t.deepEqual(await vm.close(), { unretiredHostPages: 0 })
    injector[Symbol.dispose]()
  })

  test.serial('a sleeping guest is paused, resumed and closed', async (t) => {
    const vm = await Vm.create(guest('idle'))
    await vm.start()
    await vm.pause()
    t.true(((await vm.vcpus[0]?.getRegister('pc')) ?? 0n) >= 0x8000_0000n)
    await vm.resume()
    await vm.close()
    t.is(vm.state, 'closed')
  })
}

if (host === 'inert') {
  test.serial('without FEAT_RAS no memory error exits, and the guest gets an SError', async (t) => {
    t.true(existsSync('/dev/sea-inject'))
    const injector = new Injector()
    injector.arm('fsc=0x10')
    await using vm = await Vm.create(guest('read-el1'))
    let text = ''
    vm.console.on('data', (chunk) => {
      text += chunk
    })
    vm.on('memory-failure', () => t.fail('a memory failure was reported'))
    await vm.start()
    t.is((await vm.wait()).reason, 'shutdown')
    t.regex(text, /^ready\nexception vector=0x380 esr=0x00000000b/)
    injector[Symbol.dispose]()
  })
}

if (host === 'unsupported') {
  test.serial('a kernel that is too old is named, with the one that is needed', async (t) => {
    const needed =
      /^this host cannot run a KVM guest: the kernel has no KVM_CAP_ARM_SEA_TO_USER .* Linux 6\.19 or newer$/
    await rejects(t, Vm.create(guest('reset')), 'ERR_UNSUPPORTED_HOST', needed)
  })

  test.serial('asked for less, the same kernel runs a guest', async (t) => {
    await using vm = await Vm.create({ ...guest('reset'), capabilities: { armSeaToUser: false } })
    await vm.start()
    t.is((await vm.wait()).reason, 'reset')
  })
}
