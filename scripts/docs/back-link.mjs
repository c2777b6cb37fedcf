// A plugin of TypeDoc: every page of the API reference leads back to the other pages of the site.
import { JSX } from 'typedoc'

export function load(app) {
  app.renderer.hooks.on('content.begin', (context) =>
    JSX.createElement('a', { href: context.relativeURL('../index.html') }, 'All pages'),
  )
}
