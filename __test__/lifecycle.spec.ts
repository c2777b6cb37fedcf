import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import test from 'ava'
import { simulated, Vm } from 'seawall'

/** Runs a module in a process of its own and returns its exit code and output; one that hangs is killed and fails. */
async function runModule(source: string, flags: string[] = []): Promise<{ code: number; output: string }> {
  const prelude = `
    import { simulated, Vm } from 'seawall'
    const create = (steps) => Vm.create({
      memory: 4096, boot: { type: 'flat', image: new Uint8Array(4) }, backend: simulated({ script: [steps] }),
    })
  `
  const args = [...flags, '--input-type=module', '--eval', prelude + source]
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { timeout: 60_000 })
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, signal, stdout, stderr } = error as {
      code?: number
      signal?: string
      stdout: string
      stderr: string
    }
    if (signal != null) throw new Error(`ended by ${signal}: ${stdout}${stderr}`)
    return { code: code ?? -1, output: stdout + stderr }
  }
}

for (const [state, reach] of Object.entries<(vm: Vm) => Promise<unknown>>({
  created: async () => {},
  running: (vm) => vm.start(),
  paused: async (vm) => {
    await vm.start()
    await vm.pause()
  },
  stopped: async (vm) => {
    await vm.start()
    await vm.stop()
  },
})) {
  test(`a VM that is ${state} is closed, once, by whoever asks`, async (t) => {
    const boot = { type: 'flat', image: new Uint8Array(4) } as const
    const vm = await Vm.create({ memory: 4096, boot, backend: simulated({ script: [[{ step: 'spin' }]] }) })
    await reach(vm)
    t.is<string, string>(vm.state, state)
    const exits: string[] = []
    vm.on('exit', ({ exit }) => exits.push(exit.reason))
    const closed = await Promise.all([vm.close(), vm.close(), vm[Symbol.asyncDispose]()])
    t.deepEqual(closed.slice(0, 2), [{ unretiredHostPages: 0 }, { unretiredHostPages: 0 }])
    t.is(vm.state, 'closed')
    t.deepEqual(exits, state === 'stopped' ? [] : ['requested'])
  })
}

test('who waits when a VM is closed is told that it was', async (t) => {
  const boot = { type: 'flat', image: new Uint8Array(4) } as const
  const vm = await Vm.create({ memory: 4096, boot, backend: simulated({ script: [[{ step: 'spin' }]] }) })
  await vm.start()
  const waiting = vm.wait()
  await vm.close()
  t.deepEqual(await waiting, { reason: 'requested', vcpu: null })
})

test('a running VM keeps the process alive until it ends', async (t) => {
  const { code, output } = await runModule(`
    const vm = await create([{ step: 'print', text: 'x' }, { step: 'spin' }])
    await vm.start()
    vm.on('exit', ({ exit }) => console.log(exit.reason))
    setTimeout(() => vm.stop(), 200).unref()
  `)
  t.deepEqual([code, output], [0, 'requested\n'])
})

test('a running VM keeps the process alive, also where the event that says that it runs is lost', async (t) => {
  const { code, output } = await runModule(`
    const sea = { step: 'sea', esr: 0x92000010n, gpa: 0x80000000n }
    const vm = await create([...Array(10_000).fill(sea), { step: 'spin' }])
    vm.on('exit', ({ exit }) => console.log(exit.reason))
    const starting = vm.start()
    // Nobody reads while this thread does not return to its event loop.
    while (vm.stats().failures < 10_000);
    await starting
    setTimeout(() => vm.stop(), 200).unref()
  `)
  t.deepEqual([code, output], [0, 'requested\n'])
})

test('a VM that was unreferenced does not', async (t) => {
  const { code, output } = await runModule(`
    const vm = await create([{ step: 'spin' }])
    vm.unref()
    await vm.start()
    console.log('end')
  `)
  t.deepEqual([code, output], [0, 'end\n'])
})

for (const [end, source, expected] of [
  ['process.exit()', 'process.exit(7)', 7],
  ['an uncaught exception', 'setImmediate(() => { throw new Error("thrown on purpose") })', 1],
  ['an unhandled rejection', 'Promise.reject(new Error("rejected on purpose"))', 1],
] as const) {
  test(`${end} ends a process with a running VM`, async (t) => {
    const { code } = await runModule(`
      const vm = await create([{ step: 'spin' }])
      await vm.start()
      ${source}
    `)
    t.is(code, expected)
  })
}

test("a listener's error is the process's, and the other events are told", async (t) => {
  const { code, output } = await runModule(`
    process.on('uncaughtException', (error) => console.log('uncaught', error.message))
    const vm = await create([{ step: 'shutdown' }])
    vm.on('state-changed', ({ to }) => { console.log(to); throw new Error('of ' + to) })
    vm.on('exit', () => console.log('exit'))
    await vm.start()
    await vm.wait()
    await vm.close()
  `)
  t.is(code, 0)
  for (const line of ['running', 'stopped', 'exit', 'closed', 'uncaught of running', 'uncaught of stopped']) {
    t.true(output.split('\n').includes(line), `${line} is missing in:\n${output}`)
  }
})

test("a console listener's error loses no event", async (t) => {
  const { code, output } = await runModule(`
    process.on('uncaughtException', (error) => console.log('uncaught', error.message))
    const vm = await create([{ step: 'print', text: 'x' }, { step: 'shutdown' }])
    const stream = vm.events()
    vm.console.once('data', () => { throw new Error('of the console') })
    await vm.start()
    await vm.wait()
    await vm.close()
    for await (const { type } of stream) console.log(type)
  `)
  const lines = output.trim().split('\n')
  t.deepEqual([code, lines.length], [0, 5], output)
  t.deepEqual(
    lines.filter((line) => line.startsWith('uncaught')),
    ['uncaught of the console'],
  )
})

test('a worker that ends with a running VM takes nothing with it', async (t) => {
  const { code, output } = await runModule(`
    import { Worker } from 'node:worker_threads'
    const source = \`
      import { parentPort } from 'node:worker_threads'
      import { simulated, Vm } from 'seawall'
      {
        const boot = { type: 'flat', image: new Uint8Array(4) }
        const vm = await Vm.create({ memory: 4096, boot, backend: simulated({ script: [[{ step: 'spin' }]] }) })
        await vm.start()
        parentPort.postMessage('running')
      }
    \`
    for (let round = 0; round < 5; round += 1) {
      const worker = new Worker(source, { eval: true })
      await new Promise((resolve) => worker.once('message', resolve))
      await worker.terminate()
    }
    const vm = await create([{ step: 'shutdown' }])
    await vm.start()
    console.log((await vm.wait()).reason)
  `)
  t.deepEqual([code, output], [0, 'shutdown\n'])
})

for (const [end, source] of [
  ['process.exit()', 'process.exit(3)'],
  ['terminate()', "parentPort.postMessage('creates'); for (;;);"],
] as const) {
  test(`no thread of a VM that is being created outlives the worker that ends by ${end}`, async (t) => {
    const { code, output } = await runModule(`
      import { once } from 'node:events'
      import { readdirSync, readFileSync } from 'node:fs'
      import { Worker } from 'node:worker_threads'
      const source = \`
        import { parentPort } from 'node:worker_threads'
        import { simulated, Vm } from 'seawall'
        const boot = { type: 'flat', image: new Uint8Array(4) }
        const backend = simulated({ script: [[{ step: 'spin' }]] })
        for (let count = 0; count < 8; count += 1) void Vm.create({ memory: 2 ** 26, vcpus: 8, boot, backend })
        ${source}
      \`
      const left = () => readdirSync('/proc/self/task')
        .map((id) => { try { return readFileSync('/proc/self/task/' + id + '/comm', 'utf8') } catch { return '' } })
        .filter((name) => /^(vcpu-|vm-control)/.test(name)).length
      let most = 0
      for (let round = 0; round < 20; round += 1) {
        const worker = new Worker(source, { eval: true })
        const exit = once(worker, 'exit')
        if (await Promise.race([once(worker, 'message'), exit.then(() => null)]) !== null) await worker.terminate()
        await exit
        most = Math.max(most, left())
      }
      console.log(most)
    `)
    t.deepEqual([code, output], [0, '0\n'])
  })
}

test('a VM that nobody holds is closed by the garbage collector', async (t) => {
  const { code, output } = await runModule(
    `
    import { readdirSync, readFileSync } from 'node:fs'
    const controlThreads = () => readdirSync('/proc/self/task')
      .filter((id) => readFileSync('/proc/self/task/' + id + '/comm', 'utf8').trim() === 'vm-control').length
    await (async () => {
      const vm = await create([{ step: 'spin' }])
      vm.console.on('data', () => {})
      vm.console.write(Buffer.alloc(1000))
    })()
    const before = controlThreads()
    for (let round = 0; round < 200 && controlThreads() > 0; round += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10))
      globalThis.gc()
    }
    console.log(before, controlThreads())
  `,
    ['--expose-gc'],
  )
  t.deepEqual([code, output], [0, '1 0\n'])
})

test('of a VM that is garbage nothing is kept', async (t) => {
  const { code, output } = await runModule(
    `
    import { queryObjects } from 'node:v8'
    // It collects garbage first.
    const references = () => queryObjects(WeakRef, { format: 'count' })
    const cycle = async () => {
      const vm = await create([{ step: 'spin' }])
      await vm.start()
      await vm.close()
    }
    await cycle()
    const before = references()
    for (let count = 0; count < 20; count += 1) await cycle()
    for (let round = 0; round < 200 && references() > before; round += 1)
      await new Promise((resolve) => setTimeout(resolve, 10))
    console.log(Math.max(0, references() - before))
  `,
    // queryObjects is experimental, and says so.
    ['--no-warnings'],
  )
  t.deepEqual([code, output], [0, '0\n'])
})
