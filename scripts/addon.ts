import { packageStep } from './step.ts'

/** Builds the addon for this machine, and its loader, into `folder`. The tests take the fast build, users the optimised one. */
export async function buildAddon(profile: 'dev' | 'release', folder = 'native'): Promise<void> {
  const output = ['--output-dir', folder, '--js', 'index.cjs', '--dts', 'index.d.cts']
  const manifest = ['--manifest-path', 'crates/napi/Cargo.toml']
  const release = profile === 'release' ? ['--release'] : []
  await packageStep('@napi-rs/cli/dist/cli.js', ['build', '--platform', ...manifest, ...output, ...release])
}
