import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Stands between a browser and the view, so that a test can cut the connection. */
export class Relay {
  readonly requests: string[] = []
  readonly #sockets = new Set<Socket>()
  readonly #server: Server

  constructor(to: number) {
    this.#server = createServer((browserSide) => {
      const viewSide = connect(to, '127.0.0.1')
      for (const socket of [browserSide, viewSide]) {
        this.#sockets.add(socket)
        socket
          .on('error', () => {})
          .on('close', () => {
            this.#sockets.delete(socket)
            browserSide.destroy()
            viewSide.destroy()
          })
      }
      browserSide.on('data', (bytes) => {
        const request = bytes.toString('latin1').replace(/^host: .*$/im, `host: 127.0.0.1:${to}`)
        this.requests.push(request)
        viewSide.write(request, 'latin1')
      })
      viewSide.pipe(browserSide)
    })
  }

  async port(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.#server.close()
    this.cut()
  }
}
