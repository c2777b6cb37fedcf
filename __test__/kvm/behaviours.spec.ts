import test from 'ava'
import { title } from '../behaviours/quarantine.ts'
import { selftests } from '../behaviours/selftests.ts'
import { behaviours } from '../behaviours/table.ts'
import { checkOnKvm } from './behaviour.ts'

for (const behaviour of [...behaviours, ...selftests]) {
  test.serial(title(behaviour.name), (t) => checkOnKvm(t, behaviour))
}
