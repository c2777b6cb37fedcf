import test from 'ava'
import { probeHost, SeawallError, Vm } from 'seawall'

test('the probe says why the status is not active', (t) => {
  const { status, reasons, kernel } = probeHost()
  t.is(status === 'active', reasons.length === 0)
  t.regex(kernel, /^\d+\.\d+/)
})

if (process.arch !== 'arm64') {
  test('on another architecture a KVM VM is rejected, and the reason named', async (t) => {
    const reason = `expected Linux on arm64 (aarch64) for KVM but received linux on x86_64`
    t.like(probeHost(), { status: 'unsupported', reasons: [reason] })
    const create = Vm.create({ memory: 4096, boot: { type: 'flat', image: new Uint8Array(4) } })
    const error = await t.throwsAsync(create, { instanceOf: SeawallError })
    t.is((error as SeawallError).code, 'ERR_UNSUPPORTED_HOST')
    t.is(error?.message, `this host cannot run a KVM guest: ${reason}`)
  })
}
