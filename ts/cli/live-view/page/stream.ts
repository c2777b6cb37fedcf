import type { Json, Messages } from '../wire.js'

/** What is done with each message. */
export type Handlers = { [Name in keyof Messages]: (message: Json<Messages[Name]>) => void }

/** How the connection is. */
export type Connection = 'connecting' | 'live' | 'lost' | 'ended'

/** How long, in milliseconds, before a connection that was refused is tried again. The browser tries those again that broke. */
const REFUSED_MS = 5000

/** Listens to the view until the VM is closed. */
export function listen(handlers: Handlers, onConnection: (connection: Connection) => void): void {
  const names: (keyof Messages)[] = ['hello', 'event', 'console', 'lost', 'pages', 'now', 'bye']
  let ended = false
  const connect = () => {
    const source = new EventSource('stream')
    for (const name of names) {
      source.addEventListener(name, ({ data }: MessageEvent<string>) => {
        if (name === 'bye') {
          ended = true
          source.close()
        }
        ;(handlers[name] as (message: unknown) => void)(JSON.parse(data))
        onConnection(ended ? 'ended' : 'live')
      })
    }
    source.addEventListener('error', () => {
      if (ended) return
      onConnection('lost')
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, REFUSED_MS)
    })
  }
  onConnection('connecting')
  connect()
}
