import ts from 'typescript'

/** A JSON Schema, or a part of one. */
export type Schema = { [keyword: string]: unknown }

/**
 * What a type allows, as one line per property: its path, with `?` where it may be absent, and what it may be. Members of
 * a union come one after the other, by their `type`.
 */
export function typeShape(file: string, name: string): string[] {
  const { checker, symbol } = typeOf(file, name)
  const lines: string[] = []

  const members = (type: ts.Type) => (type.isUnion() ? type.types : [type])
  const word = (type: ts.Type): string => {
    if (type.isStringLiteral()) return type.value.startsWith('ERR_') ? 'string' : JSON.stringify(type.value)
    if (type.isNumberLiteral()) return String(type.value)
    if (type.flags & ts.TypeFlags.BooleanLiteral) return 'boolean'
    if (type.flags & ts.TypeFlags.Object || type.isIntersection()) return 'object'
    return checker.typeToString(type)
  }
  const properties = (type: ts.Type) => {
    const found = checker.getPropertiesOfType(type)
    // Of an error, JSON has what jsonReplacer keeps.
    const isError = found.some(({ name }) => name === 'stack')
    return isError ? found.filter(({ name }) => ERROR_FIELDS.includes(name)) : found
  }
  const walk = (path: string, type: ts.Type) => {
    const types = members(type)
    lines.push(line(path, types.map(word)))
    for (const object of types.filter((member) => word(member) === 'object')) {
      for (const property of properties(object)) {
        const optional = (property.flags & ts.SymbolFlags.Optional) !== 0
        const inner = checker.getTypeOfSymbol(property)
        const present = members(inner).filter((member) => !(member.flags & ts.TypeFlags.Undefined))
        walk(
          `${path}.${property.name}${optional ? '?' : ''}`,
          optional && present.length === 1 && present[0] ? present[0] : inner,
        )
      }
    }
  }

  for (const member of members(checker.getDeclaredTypeOfSymbol(symbol))) {
    const type = member.getProperty('type')
    if (type === undefined) throw new Error(`a member of ${name} has no type`)
    walk(word(checker.getTypeOfSymbol(type)), member)
  }
  return lines.sort()
}

/** The words that a type of words allows. */
export function typeWords(file: string, name: string): string[] {
  const { checker, symbol } = typeOf(file, name)
  const type = checker.getDeclaredTypeOfSymbol(symbol)
  return (type.isUnion() ? type.types : [type]).map((member) => (member as ts.StringLiteralType).value)
}

/** The fields of an interface by their paths, with those of the objects in it. */
export function fieldPaths(file: string, name: string): string[] {
  const { checker, symbol } = typeOf(file, name)
  const paths = (type: ts.Type, before: string): string[] =>
    checker.getPropertiesOfType(type).flatMap((property) => {
      const path = `${before}${property.name}`
      const inner = checker.getNonNullableType(checker.getTypeOfSymbol(property))
      const isLiteral = (inner.symbol?.flags ?? 0) & ts.SymbolFlags.TypeLiteral
      const deeper = isLiteral ? paths(inner, `${path}.`) : []
      return deeper.length > 0 ? deeper : [path]
    })
  return paths(checker.getDeclaredTypeOfSymbol(symbol), '')
}

function typeOf(file: string, name: string): { checker: ts.TypeChecker; symbol: ts.Symbol } {
  const program = ts.createProgram([file], {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    types: ['node'],
    strict: true,
    exactOptionalPropertyTypes: true,
  })
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(file)
  const module = source && checker.getSymbolAtLocation(source)
  const symbol = module && checker.getExportsOfModule(module).find((found) => found.name === name)
  if (symbol === undefined) throw new Error(`${file} exports no ${name}`)
  return { checker, symbol }
}

const ERROR_FIELDS = ['code', 'message', 'syscall', 'errno']

function line(path: string, words: string[]): string {
  return `${path}: ${[...new Set(words)].sort().join(' | ')}`
}

/** What a schema allows, in the same lines. */
export function schemaShape(root: Schema): string[] {
  const definitions = root['$defs'] as Record<string, Schema>
  const lines: string[] = []

  const resolve = (schema: Schema): Schema[] => {
    const reference = schema['$ref'] as string | undefined
    if (reference === '#/$defs/u64') return [{ type: 'bigint' }]
    if (reference !== undefined) return resolve(definitions[reference.replace('#/$defs/', '')] ?? {})
    return Array.isArray(schema['anyOf']) ? schema['anyOf'].flatMap(resolve) : [schema]
  }
  const words = (schema: Schema): string[] => {
    if ('const' in schema) return [JSON.stringify(schema['const'])]
    if (Array.isArray(schema['enum'])) return schema['enum'].map((value) => JSON.stringify(value))
    return [schema['type']].flat().map((type) => (type === 'integer' ? 'number' : String(type)))
  }
  const walk = (path: string, schema: Schema) => {
    const schemas = resolve(schema)
    lines.push(line(path, schemas.flatMap(words)))
    for (const { properties, required } of schemas) {
      for (const [name, inner] of Object.entries((properties ?? {}) as Record<string, Schema>)) {
        walk(`${path}.${name}${(required as string[]).includes(name) ? '' : '?'}`, inner)
      }
    }
  }

  for (const member of root['oneOf'] as Schema[]) {
    const [event] = resolve(member)
    const { type } = (event?.['properties'] ?? {}) as Record<string, Schema>
    walk(JSON.stringify(type?.['const']), event ?? {})
  }
  return lines.sort()
}
