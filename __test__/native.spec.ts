import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import ts from 'typescript'

test('the addon has the shape that ts/native.ts says', (t) => {
  const folder = mkdtempSync(join('build', 'native-shape-'))
  try {
    const file = join(folder, 'check.ts')
    writeFileSync(
      file,
      `import type * as addon from '../../native/index.cjs'
       import type { NativeBinding, NativeStep, NativeVm, NativeVmOptions } from '../../dist/native.js'
       type Names<Type> = keyof Type
       // What Seawall calls exists and takes what Seawall gives it.
       export const functions = {} as Pick<typeof addon, Names<Omit<NativeBinding, 'createVm' | 'probeHost'>>> satisfies
         Omit<NativeBinding, 'createVm' | 'probeHost'>
       export const options = {} as NativeVmOptions satisfies addon.NativeVmOptions
       export const step = {} as NativeStep satisfies addon.NativeStep
       export const methods = {} as Record<Names<NativeVm>, unknown> satisfies Record<Names<addon.NativeVm>, unknown>`,
    )
    const program = ts.createProgram([file], {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts'],
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
    })
    const problems = ts
      .getPreEmitDiagnostics(program)
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
    t.deepEqual(problems, [])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('without an addon the package imports, and says what is missing when it is used', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'seawall-'))
  try {
    cpSync('dist', join(folder, 'dist'), { recursive: true })
    writeFileSync(join(folder, 'package.json'), readFileSync('package.json'))
    const seawall: typeof import('seawall') = await import(
      pathToFileURL(join(folder, 'dist', 'index.js')).href
    )
    for (const use of [() => seawall.probeHost(), () => seawall.decodeEsr(0n), () => seawall.formatEsr(0n)]) {
      const error = t.throws(use, { instanceOf: seawall.SeawallError })
      t.is((error as InstanceType<typeof seawall.SeawallError>).code, 'ERR_NATIVE_MISSING')
      t.regex(error?.message ?? '', new RegExp(`no native addon for ${process.platform} on ${process.arch}`))
    }
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.serial(
  'to find out which package a machine needs, Seawall asks for no names of network addresses',
  async (t) => {
    // It is no part of what the package exports.
    const { platformPackage } = await import(pathToFileURL('dist/platform.js').href)
    const report = process.report as NonNullable<typeof process.report> & { excludeNetwork: boolean }
    const { getReport } = report
    const asked: boolean[] = []
    t.teardown(() => {
      report.getReport = getReport
    })
    report.getReport = () => {
      asked.push(report.excludeNetwork)
      return getReport.call(report)
    }
    const libc = process.platform === 'linux' ? ['gnu'] : []
    t.is(platformPackage(), ['seawall', process.platform, process.arch, ...libc].join('-'))
    t.deepEqual(asked, libc.length > 0 ? [true] : [])
    t.false(report.excludeNetwork)
  },
)
