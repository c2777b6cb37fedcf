import test, { type ExecutionContext } from 'ava'
import { SeawallError, simulated, Vm, type VmOptions } from 'seawall'

const spin = simulated({ script: [[{ step: 'spin' }]] })
const image = new Uint8Array(8)
const valid: VmOptions = { memory: 8192, boot: { type: 'flat', image }, backend: spin }

/** Expects a promise to reject with a SeawallError of this code and message, and the process to go on. */
async function rejects(
  t: ExecutionContext,
  promise: Promise<unknown>,
  code: string,
  message?: string | RegExp,
) {
  const error = await t.throwsAsync(promise, { instanceOf: SeawallError, ...(message && { message }) })
  t.is<string | undefined, string>(error?.code, code)
  t.is(error?.name, 'SeawallError')
}

const wrongOptions: [what: string, options: unknown, code: string, message: string][] = [
  ['no options', undefined, 'ERR_INVALID_OPTION', 'Expected an object for options but received undefined'],
  [
    'a misspelt option',
    { ...valid, memmory: 1 },
    'ERR_INVALID_OPTION',
    'Expected only id, name, memory, hugetlb, vcpus, backend, boot, onReset, unclaimedAccess, memoryFailure, capabilities, redact for the properties of options but received "memmory"',
  ],
  [
    'memory that is not a multiple of the page size',
    { ...valid, memory: 4097 },
    'ERR_INVALID_OPTION',
    'Expected a non-zero multiple of 4096 bytes for memory but received 4097',
  ],
  ...[0, -4096, Number.NaN, 1.5, '4096', 4096n, Number.POSITIVE_INFINITY].map(
    (memory): [string, unknown, string, string] => [
      `memory of ${String(memory)} (${typeof memory})`,
      { ...valid, memory },
      'ERR_INVALID_OPTION',
      `Expected an integer from 1 to 9007199254740991 for memory but received ${
        typeof memory === 'string' ? `"${memory}"` : typeof memory === 'bigint' ? `${memory}n` : memory
      }`,
    ],
  ),
  [
    'more memory than there are addresses',
    { ...valid, memory: 2 ** 52 },
    'ERR_OUT_OF_RESOURCES',
    'mmap failed with ENOMEM',
  ],
  [
    'no vCPU',
    { ...valid, vcpus: 0 },
    'ERR_INVALID_OPTION',
    'Expected an integer from 1 to 512 for vcpus but received 0',
  ],
  [
    'an entry outside the image',
    { ...valid, boot: { type: 'flat', image, entry: 0x8000_0008n } },
    'ERR_INVALID_IMAGE',
    'Expected a multiple of 4 inside the image (0x80000000, 0x8 bytes) for boot.entry but received 0x80000008',
  ],
  [
    'an image larger than memory',
    { ...valid, boot: { type: 'flat', image: new Uint8Array(8196) } },
    'ERR_INVALID_IMAGE',
    'Expected boot.image to lie inside guest RAM (0x80000000, 0x2000 bytes) but received 0x2004 bytes at 0x80000000',
  ],
  [
    'an empty image',
    { ...valid, boot: { type: 'flat', image: new Uint8Array() } },
    'ERR_INVALID_IMAGE',
    'Expected at least one instruction (4 bytes) for boot.image but received 0 bytes',
  ],
  [
    'an image that is not there',
    { ...valid, boot: { type: 'flat', image: '/nowhere/guest.bin' } },
    'ERR_INVALID_IMAGE',
    'Expected a readable file for boot.image but received "/nowhere/guest.bin" (ENOENT)',
  ],
  [
    'a load address that is no bigint',
    { ...valid, boot: { type: 'flat', image, loadAddress: 0x8000_0000 } },
    'ERR_INVALID_OPTION',
    'Expected a bigint from 0n to 2n ** 64n - 1n for boot.loadAddress but received 2147483648',
  ],
  [
    'a load address of more than 64 bits',
    { ...valid, boot: { type: 'flat', image, loadAddress: 2n ** 64n } },
    'ERR_INVALID_OPTION',
    'Expected a bigint from 0n to 2n ** 64n - 1n for boot.loadAddress but received 18446744073709551616n',
  ],
  [
    'another kind of boot',
    { ...valid, boot: { type: 'bios', image } },
    'ERR_INVALID_OPTION',
    "Expected 'flat' or 'linux' for boot.type but received \"bios\"",
  ],
  [
    'another backend',
    { ...valid, backend: 'xen' },
    'ERR_INVALID_OPTION',
    'Expected \'kvm\' or simulated({ … }) for backend but received "xen"',
  ],
  [
    'a policy that injects what nobody can contain',
    { ...valid, memoryFailure: { uncontainable: 'inject' } },
    'ERR_INVALID_OPTION',
    "Expected 'pause' or 'stop' for memoryFailure.uncontainable but received \"inject\"",
  ],
  [
    'scripts for more vCPUs than there are',
    { ...valid, backend: { kind: 'simulated', script: [[], []] } },
    'ERR_INVALID_OPTION',
    'Expected scripts for at most 1 vCPUs for backend but received 2',
  ],
]

for (const [what, options, code, message] of wrongOptions) {
  test(`create rejects ${what}`, async (t) => {
    await rejects(t, Vm.create(options as VmOptions), code, message)
  })
}

const wrongScripts: [what: string, script: unknown, message: string | RegExp][] = [
  ['no array', {}, 'Expected an array of arrays of steps for script but received an object'],
  [
    'an unknown step',
    [[{ step: 'jump' }]],
    /^Expected 'sea' or .* for script\[0\]\[0\]\.step but received "jump"$/,
  ],
  [
    'a step with a number for an address',
    [[{ step: 'sea', esr: 5 }]],
    'Expected a bigint from 0n to 2n ** 64n - 1n for script[0][0].esr but received 5',
  ],
  [
    'a misspelt property',
    [[{ step: 'print', txt: '' }]],
    'Expected only step, text for the properties of script[0][0] but received "txt"',
  ],
]

for (const [what, script, message] of wrongScripts) {
  test(`simulated() refuses ${what}`, (t) => {
    const error = t.throws(() => simulated({ script } as never), { instanceOf: SeawallError, message })
    t.is((error as SeawallError).code, 'ERR_INVALID_OPTION')
  })
}

test('create rejects a script that names no register', async (t) => {
  const backend = simulated({ script: [[{ step: 'print', text: '{x31}' }]] })
  const message = 'Expected the name of an arm64 register in braces but received {x31}'
  await rejects(t, Vm.create({ ...valid, backend }), 'ERR_INVALID_OPTION', message)
})

test('start is for created VMs alone', async (t) => {
  await using vm = await Vm.create(valid)
  await vm.start()
  const message = 'Expected a VM that is created for start() but received one that is running'
  await rejects(t, vm.start(), 'ERR_INVALID_STATE', message)
  await vm.stop()
  await rejects(t, vm.start(), 'ERR_INVALID_STATE', /but received one that is stopped$/)
})

test('pause and resume say in which state they work', async (t) => {
  await using vm = await Vm.create(valid)
  await rejects(t, vm.pause(), 'ERR_INVALID_STATE', /running for pause\(\) but received one that is created$/)
  await rejects(
    t,
    vm.resume(),
    'ERR_INVALID_STATE',
    /paused for resume\(\) but received one that is created$/,
  )
})

test('after close every operation says so, and close itself does not', async (t) => {
  const vm = await Vm.create(valid)
  const vcpu = vm.vcpus[0]
  t.deepEqual(await vm.close(), { unretiredHostPages: 0 })
  t.deepEqual(await vm.close(), { unretiredHostPages: 0 })
  t.is(vm.state, 'closed')
  const operations = {
    'start()': () => vm.start(),
    'pause()': () => vm.pause(),
    'resume()': () => vm.resume(),
    'stop()': () => vm.stop(),
    'wait()': () => vm.wait(),
    'getRegister()': async () => vcpu?.getRegister('pc'),
    'setRegister()': async () => vcpu?.setRegister('pc', 0n),
    'injectDataAbort()': async () => vcpu?.injectDataAbort(),
    'memory.read()': async () => vm.memory.read(0x8000_0000n, 1),
    'memory.write()': async () => vm.memory.write(0x8000_0000n, new Uint8Array(1)),
  }
  for (const [name, operation] of Object.entries(operations)) {
    await rejects(
      t,
      operation(),
      'ERR_VM_CLOSED',
      `Expected an open VM for ${name} but received a closed one`,
    )
  }
  t.deepEqual(await vm.events().next(), { done: true, value: undefined })
})

test('registers of a running vCPU are out of reach', async (t) => {
  await using vm = await Vm.create(valid)
  await vm.start()
  for (const operation of [
    () => vm.vcpus[0]?.getRegister('pc'),
    () => vm.vcpus[0]?.setRegister('pc', 0n),
    () => vm.vcpus[0]?.injectDataAbort(),
  ]) {
    await rejects(t, Promise.resolve(operation()), 'ERR_VCPU_RUNNING', /of a VM that is running$/)
  }
})

test('while an abort waits an SError takes its place, and nothing is injected on top of it', async (t) => {
  const sea = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8000_1000n, pc: 0x8000_1234n } as const
  const backend = simulated({ script: [[sea, { step: 'spin' }]] })
  await using vm = await Vm.create({ ...valid, backend, memoryFailure: { recoverable: 'pause' } })
  const paused = new Promise<void>((resolve) => {
    vm.on('state-changed', ({ to }) => to === 'paused' && resolve())
  })
  await vm.start()
  await paused
  const [vcpu] = vm.vcpus
  t.is((await vcpu?.injectSError())?.method, 'serror')
  await rejects(t, Promise.resolve(vcpu?.injectDataAbort()), 'ERR_INVALID_INJECTION', /after an injection$/)
  t.deepEqual(vm.pendingFailures(), [])
  await vm.resume()
  await vm.pause()
  t.is(await vcpu?.getRegister('elr_el1'), 0x8000_1234n)
})

test('registers have names', async (t) => {
  await using vm = await Vm.create(valid)
  const message = 'Expected the name of an arm64 register but received "x31"'
  await rejects(t, Promise.resolve(vm.vcpus[0]?.getRegister('x31')), 'ERR_INVALID_OPTION', message)
  await vm.vcpus[0]?.setRegister('x7', 2n ** 64n - 1n)
  t.is(await vm.vcpus[0]?.getRegister('x7'), 2n ** 64n - 1n)
  t.is(await vm.vcpus[0]?.getRegister('pc'), 0x8000_0000n)
  t.is(await vm.vcpus[0]?.getRegister('pstate'), 0x3c5n)
})

test('one exception at a time, and none after a PSCI call', async (t) => {
  await using vm = await Vm.create(valid)
  const [vcpu] = vm.vcpus
  await vcpu?.injectDataAbort()
  const both =
    /^Expected a vCPU whose last exit was a memory access for injectInstructionAbort\(\) but received one after an injection$/
  await rejects(t, Promise.resolve(vcpu?.injectInstructionAbort()), 'ERR_INVALID_INJECTION', both)
  await using ended = await Vm.create({ ...valid, backend: simulated({ script: [[{ step: 'shutdown' }]] }) })
  await ended.start()
  await ended.wait()
  await rejects(
    t,
    Promise.resolve(ended.vcpus[0]?.injectDataAbort()),
    'ERR_INVALID_INJECTION',
    /after a PSCI call$/,
  )
})

test('nothing is injected into a vCPU in a mode that no guest of ours has', async (t) => {
  for (const [pstate, why] of [
    [0x3c9n, 'EL2h (0b01001): no guest has EL2: nested virtualisation is not supported'],
    [0x1d3n, 'AArch32 svc (0b10011): AArch32 is supported at EL0 alone'],
  ] as const) {
    const into = { step: 'set-register', name: 'pstate', value: pstate } as const
    const inMode = (operation: string) =>
      `Expected a vCPU in EL0t, EL1t, EL1h or AArch32 usr for ${operation} but received one in ${why}`
    await using vm = await Vm.create({
      ...valid,
      backend: simulated({ script: [[into, { step: 'print', text: 'x' }, { step: 'spin' }]] }),
    })
    const ready = new Promise((resolve) => vm.console.once('data', resolve))
    await vm.start()
    await ready
    await vm.pause()
    const [vcpu] = vm.vcpus
    for (const [operation, inject] of [
      ['injectDataAbort()', () => vcpu?.injectDataAbort()],
      ['injectInstructionAbort()', () => vcpu?.injectInstructionAbort({ fidelity: 'kvm' })],
      ['injectSError()', () => vcpu?.injectSError()],
    ] as const) {
      await rejects(t, (async () => inject())(), 'ERR_INVALID_INJECTION', inMode(operation))
    }
    t.is(await vcpu?.getRegister('pstate'), pstate)
    t.is(await vcpu?.getRegister('esr_el1'), 0n)
    for (const step of [
      { step: 'sea', esr: 0x9600_0010n, gpa: 0x8000_1000n, pstate },
      { step: 'mmio-read', gpa: 0x1000n, size: 4 },
    ] as const) {
      await using ended = await Vm.create({ ...valid, backend: simulated({ script: [[into, step]] }) })
      await ended.start()
      const { reason, error } = await ended.wait()
      t.deepEqual([reason, error?.code], ['failed', 'ERR_INVALID_INJECTION'])
      t.is(error?.message, `the abort could not be injected into vCPU 0: ${inMode('an injection')}`)
      t.is(await ended.vcpus[0]?.getRegister('pstate'), pstate)
    }
  }
})

test('injections and decisions say what they expect', async (t) => {
  await using vm = await Vm.create(valid)
  const [vcpu] = vm.vcpus
  for (const [operation, message] of [
    [
      () => vcpu?.injectDataAbort({ faultStatus: 64 }),
      /integer from 0 to 63 for faultStatus but received 64$/,
    ],
    [() => vcpu?.injectDataAbort({ far: -1n }), /for far but received -1n$/],
    [() => vcpu?.injectInstructionAbort({ set: 'reserved' as never }), /for set but received "reserved"$/],
    [() => vcpu?.injectSError({ iss: 2 ** 25 }), /integer from 0 to 33554431 for iss but received 33554432$/],
    [() => vm.resume({ decisions: {} as never }), /a Map for decisions but received an object$/],
    [
      () => vm.resume({ decisions: new Map([[1, { action: 'retry' } as never]]) }),
      /for decisions\.get\(1\)\.action but received "retry"$/,
    ],
  ] as const) {
    await rejects(t, (async () => operation())(), 'ERR_INVALID_OPTION', message)
  }
})

test('an injection that the kernel refuses is made of registers, and one that nothing can make ends the VM', async (t) => {
  const sea = { step: 'sea', esr: 0x9200_0010n, gpa: 0x8000_1000n } as const
  const refused = [{ step: 'refuse-injection', errno: 22 }, sea, { step: 'shutdown' }] as const
  await using vm = await Vm.create({ ...valid, backend: simulated({ script: [refused] }) })
  const methods: unknown[] = []
  vm.on('memory-failure', ({ injection }) => methods.push(injection?.method))
  await vm.start()
  t.is((await vm.wait()).reason, 'shutdown')
  t.deepEqual(methods, ['registers'])
  const hopeless = [{ step: 'refuse-register', name: 'esr_el1', errno: 5 }, ...refused] as const
  await using other = await Vm.create({ ...valid, backend: simulated({ script: [hopeless] }) })
  await other.start()
  const { reason, error } = await other.wait()
  t.is(reason, 'failed')
  t.like(error, { code: 'ERR_INJECTION_FAILED', syscall: 'KVM_SET_ONE_REG', errno: 'EIO' })
})

test('guest RAM has bounds', async (t) => {
  await using vm = await Vm.create(valid)
  vm.memory.write(0x8000_1ff8n, Buffer.from('12345678'))
  t.is(vm.memory.read(0x8000_1ffcn, 4).toString(), '5678')
  t.deepEqual(vm.memory.read(0x8000_2000n, 0), Buffer.alloc(0))
  for (const [gpa, length] of [
    [0x8000_2000n, 1],
    [0x8000_1fffn, 2],
    [0x7fff_ffffn, 1],
    [2n ** 64n - 1n, 1],
  ] as const) {
    const error = t.throws(() => vm.memory.read(gpa, length), { instanceOf: SeawallError })
    t.is((error as SeawallError).code, 'ERR_GUEST_MEMORY')
  }
  const huge = t.throws(() => vm.memory.read(0x8000_0000n, 2 ** 32 - 1), { instanceOf: SeawallError })
  t.is((huge as SeawallError).code, 'ERR_GUEST_MEMORY', 'nothing is allocated for nonsense')
  const error = t.throws(() => vm.memory.read(0 as never, 1), { instanceOf: SeawallError })
  t.is((error as SeawallError).code, 'ERR_INVALID_OPTION')
})

test('a run that fails ends the VM with the error, and the others run on', async (t) => {
  await using other = await Vm.create(valid)
  await other.start()
  await using vm = await Vm.create({
    ...valid,
    backend: simulated({ script: [[{ step: 'fail', errno: 5 }]] }),
  })
  await vm.start()
  const exit = await vm.wait()
  t.like(exit, { reason: 'failed', vcpu: 0 })
  t.like(exit.error, { code: 'ERR_KVM_IOCTL', syscall: 'KVM_RUN', errno: 'EIO' })
  t.is(vm.state, 'failed')
  t.is(other.state, 'running')
})

test('an exit that is newer than Seawall is reported with its number', async (t) => {
  await using vm = await Vm.create({
    ...valid,
    backend: simulated({ script: [[{ step: 'exit', reason: 99 }]] }),
  })
  await vm.start()
  const { error } = await vm.wait()
  t.is(error?.code, 'ERR_KVM_IOCTL')
  t.regex(error?.message ?? '', /^vCPU 0 left the guest for a reason Seawall cannot handle: exit reason 99 /)
})
