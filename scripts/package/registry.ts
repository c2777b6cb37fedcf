import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

// Its types do not compile without those of packages that it does not bring.
const { runServer } = createRequire(import.meta.url)('verdaccio') as {
  runServer(config: object): Promise<Server>
}

/** A registry of npm packages on loopback: empty at first, and it asks no other registry for what it does not have. */
export class Registry {
  readonly url: string
  readonly #server: Server
  readonly #folder: string

  private constructor(server: Server, folder: string) {
    this.#server = server
    this.#folder = folder
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  }

  /** Starts a registry that anybody may publish to. */
  static async start(): Promise<Registry> {
    const folder = mkdtempSync(join(tmpdir(), 'seawall-registry-'))
    const server = await runServer({
      self_path: join(folder, 'config.yaml'),
      storage: join(folder, 'storage'),
      uplinks: {},
      packages: { '**': { access: '$all', publish: '$all' } },
      auth: { htpasswd: { file: join(folder, 'users'), max_users: -1 } },
      log: { type: 'stdout', format: 'pretty', level: 'fatal' },
      web: { enable: false },
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new Registry(server, folder)
  }

  /** Ends it, with all that was published to it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close()
    this.#server.closeAllConnections()
    await once(this.#server, 'close')
    rmSync(this.#folder, { recursive: true })
  }
}
