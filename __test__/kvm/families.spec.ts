import test from 'ava'
import { families } from '../behaviours/families.ts'
import { checkOnKvm } from './behaviour.ts'

for (const behaviour of families) {
  test.serial(behaviour.name, (t) => checkOnKvm(t, behaviour))
}
