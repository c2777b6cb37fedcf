import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { findNode, NODE_LINES } from '../../lab/node-versions.ts'
import { tarball } from '../../scripts/package/pack.ts'
import { PLATFORMS } from '../../scripts/package/platforms.ts'
import { Registry } from '../../scripts/package/registry.ts'
import { projectVersion } from '../../scripts/step.ts'
import { assertPrints, readme } from './readme.ts'
import { type PackageManager, Stranger } from './stranger.ts'

const modules = fileURLToPath(new URL('../../../node_modules', import.meta.url))
const libc = process.platform === 'linux' ? ['gnu'] : []
const here = ['seawall', process.platform, process.arch, ...libc].join('-')
const version = projectVersion()

// It has nothing, so that whoever asks for more than the tarballs finds out.
let registry: Registry
test.before(async () => {
  registry = await Registry.start()
})
test.after.always(() => registry?.[Symbol.asyncDispose]())

/** The example as a CommonJS module. */
function asCommonJs(code: string): string {
  const required = code.replace(/^import (\{.*\}) from ('.*')$/m, 'const $1 = require($2)')
  return `async function main() {\n${required}}\nmain()\n`
}

for (const manager of ['npm', 'pnpm'] satisfies PackageManager[]) {
  test(`${manager} installs the tarballs, and README.md's example runs as TypeScript, CommonJS and JavaScript`, async (t) => {
    t.timeout(300_000)
    using stranger = new Stranger(registry.url)
    await stranger.install(manager, tarball('seawall'), tarball(here))

    stranger.write('module.mjs', readme.code)
    assertPrints(t, await stranger.node('module.mjs'), readme.output)

    stranger.write('common.cjs', asCommonJs(readme.code))
    assertPrints(t, await stranger.node('common.cjs'), readme.output)

    stranger.write('typed.mts', `${readme.code}\n${SUBPATHS}`)
    stranger.write('required.cts', REQUIRED)
    const compiler = [
      join(modules, 'typescript', 'bin', 'tsc'),
      ...TSC,
      '--typeRoots',
      join(modules, '@types'),
    ]
    const well = { exitCode: 0, stdout: '', stderr: '' }
    t.deepEqual(await stranger.node(...compiler, ...NODENEXT, 'typed.mts', 'required.cts'), well)
    t.deepEqual(await stranger.node(...compiler, '--module', 'node16', '--noEmit', 'typed.mts'), well)
    const bundler = ['--module', 'esnext', '--moduleResolution', 'bundler', '--noEmit']
    t.deepEqual(await stranger.node(...compiler, ...bundler, 'typed.mts'), well)
    assertPrints(t, await stranger.node('required.cjs'), 'data external uer\n')
    assertPrints(t, await stranger.node('typed.mjs'), `${readme.output}data external uer\nsimulated\n`)

    stranger.write('wrong.mts', "import { Vm } from 'seawall'\nVm.create({ memory: 'much' })\n")
    const refused = await stranger.node(...compiler, ...NODENEXT, 'wrong.mts')
    t.is(refused.exitCode, 2)
    t.regex(refused.stdout, /^wrong\.mts\(2,/)

    const tool = await stranger.run(join('node_modules', '.bin', 'seawall'), 'esr', '0x92000610')
    t.is(tool.exitCode, 0)
    t.regex(tool.stdout, /synchronous external abort/i)

    const guest = await stranger.run(join('node_modules', '.bin', 'seawall'), 'run', '--simulated', '--json')
    t.is(guest.exitCode, 0, guest.stderr)
    t.regex(guest.stdout, /^guest: application 1 was loading: SIGBUS, ESR_EL1=0x0000000092000010 /m)
    t.like(JSON.parse(guest.stderr.trimEnd().split('\n').at(-1) ?? ''), { memoryFailures: 6, lostPages: 4 })

    stranger.write('view.mjs', VIEW)
    t.deepEqual(await stranger.node('view.mjs'), { exitCode: 0, stdout: VIEW_SAYS, stderr: '' })
  })
}

/** The page of `seawall run --ui` with all that it consists of. */
const VIEW = `
import { simulated, Vm } from 'seawall'
import { LiveView } from './node_modules/seawall/dist/cli/live-view/live-view.js'
const boot = { type: 'flat', image: new Uint8Array(4) }
const vm = await Vm.create({ memory: 4096, boot, backend: simulated({ script: [[{ step: 'spin' }]] }) })
const view = await LiveView.open(vm, { memory: 4096 })
for (const path of ['', 'style/base.css', 'icon.svg', 'page/main.js', 'page/console-text.js', 'page/nowhere.js']) {
  const response = await fetch(new URL(path, view.url))
  console.log(response.status, response.headers.get('content-type'))
}
await vm.close()
await view.close()
`
const VIEW_SAYS = `200 text/html; charset=utf-8
200 text/css; charset=utf-8
200 image/svg+xml
200 text/javascript; charset=utf-8
200 text/javascript; charset=utf-8
404 text/plain; charset=utf-8
`
const SUBPATHS = `
import { decodeEsr, type Abort } from 'seawall/esr'
import { simulated as play, type SimulatedStep } from 'seawall/simulated'
const abort: Abort | null = decodeEsr(0x92000610n).abort
const steps: SimulatedStep[] = [{ step: 'shutdown' }]
console.log(abort?.kind, abort?.cause, abort?.set)
console.log(play({ script: [steps] }).kind)
`
const REQUIRED = `
import seawall = require('seawall')
const abort: seawall.Abort | null = seawall.decodeEsr(0x92000610n).abort
console.log(abort?.kind, abort?.cause, abort?.set)
`
/** Of Node's types the compiler is told nothing: that they are installed is enough. */
const TSC = [
  '--strict',
  '--exactOptionalPropertyTypes',
  '--noUncheckedIndexedAccess',
  ...['--skipLibCheck', 'false'],
  ...['--target', 'es2022'],
]
const NODENEXT = ['--module', 'nodenext']

test('on the oldest Node and on the newest of each line the example runs from the tarballs, by import and by require()', async (t) => {
  t.timeout(300_000)
  using stranger = new Stranger(registry.url)
  await stranger.install('npm', tarball('seawall'), tarball(here))
  stranger.write('module.mjs', readme.code)
  stranger.write('common.cjs', asCommonJs(readme.code))
  for (const line of ['20.19.0', ...NODE_LINES]) {
    const node = await findNode(line)
    t.true((await stranger.run(node, '--version')).stdout.startsWith(`v${line}`))
    assertPrints(t, await stranger.run(node, 'module.mjs'), readme.output)
    assertPrints(t, await stranger.run(node, 'common.cjs'), readme.output)
  }
})

const USE = `
import { probeHost, simulated } from 'seawall'
simulated({ script: [] })
try {
  probeHost()
} catch (error) {
  console.log(error.name, error.code)
  console.log(error.message)
}`

test('without the package of the platform Seawall imports, and says which package to install', async (t) => {
  using stranger = new Stranger(registry.url)
  await stranger.install('npm', tarball('seawall'))
  stranger.write('use.mjs', USE)
  t.deepEqual((await stranger.node('use.mjs')).stdout.split('\n').slice(0, 2), [
    'SeawallError ERR_NATIVE_MISSING',
    `there is no native addon for ${process.platform} on ${process.arch}: install ${here}@${version} (npm does it by itself ` +
      'unless optional dependencies are left out), or in a clone run `npm run build`',
  ])
})

test('an addon of another version is refused, and the error says which one to install', async (t) => {
  using stranger = new Stranger(registry.url)
  await stranger.install('npm', tarball('seawall'), tarball(here))
  const manifest = join(stranger.folder, 'node_modules', 'seawall', 'package.json')
  writeFileSync(
    manifest,
    readFileSync(manifest, 'utf8').replace(`"version": "${version}"`, '"version": "9.9.9"'),
  )
  stranger.write('use.mjs', USE)
  const [code, message] = (await stranger.node('use.mjs')).stdout.split('\n')
  t.is(code, 'SeawallError ERR_NATIVE_MISSING')
  t.true(
    message?.startsWith(
      `Expected the native addon of 9.9.9 but received that of ${version}: install ${here}@9.9.9 `,
    ),
    message,
  )
})

test('an addon that does not load says why', async (t) => {
  using stranger = new Stranger(registry.url)
  await stranger.install('npm', tarball('seawall'), tarball(here))
  const addon = join(stranger.folder, 'node_modules', here, `${here.replace('seawall-', 'seawall.')}.node`)
  writeFileSync(addon, 'nonsense')
  stranger.write('use.mjs', USE)
  const { stdout } = await stranger.node('use.mjs')
  t.regex(
    stdout,
    /^SeawallError ERR_NATIVE_MISSING\nthe native addon does not load: .*\.node: file too short: install /,
  )
})

test('the packages have no install script, no dependency, and the licences', async (t) => {
  using stranger = new Stranger(registry.url)
  await stranger.install('npm', tarball('seawall'), tarball(here))
  const read = (name: string) =>
    JSON.parse(readFileSync(join(stranger.folder, 'node_modules', name, 'package.json'), 'utf8'))
  for (const name of ['seawall', here]) {
    const manifest = read(name)
    t.is(manifest.version, version)
    t.is(manifest.scripts, undefined)
    t.is(manifest.dependencies, undefined)
    t.is(manifest.devDependencies, undefined)
    for (const file of ['README.md', 'LICENSE', 'LICENSE-APACHE', 'LICENSE-MIT'])
      t.true(readFileSync(join(dirname(join(stranger.folder, 'node_modules', name, 'x')), file)).length > 0)
  }
  t.deepEqual(read(here).engines, { node: '>=20' })
  const optional: Record<string, string> = read('seawall').optionalDependencies
  t.true(here in optional)
  for (const [name, wanted] of Object.entries(optional)) {
    t.is(wanted, version)
    t.true(PLATFORMS.some((platform) => name === `seawall-${platform.name}`))
  }
})
