import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'

/** What comes of a connection: the error's code, or that there is one. */
export async function connecting(port: string, host: string): Promise<string> {
  const socket = connect(Number(port), host)
  const result = await once(socket, 'connect').then(
    () => 'connected',
    ({ code }: NodeJS.ErrnoException) => String(code),
  )
  socket.destroy()
  return result
}

/** Asks the server for something, and reads the answer. */
export async function ask(
  url: string | URL,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<{ status: number; headers: IncomingMessage['headers']; body: string }> {
  const { body: sentBody, ...rest } = options
  const sent = request(url, { agent: false, ...rest })
  sent.end(sentBody)
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  let body = ''
  for await (const chunk of response.setEncoding('utf8')) body += chunk
  return { status: response.statusCode ?? 0, headers: response.headers, body }
}
