// Counts results.json by kind, and lists what did not pass of what is required or optimal.
import fs from 'node:fs'
import all from './cache-tests/tests/index.mjs'
import { determineTestResult } from './cache-tests/test-engine/lib/results.mjs'

const results = JSON.parse(fs.readFileSync('results.json'))
const score = {}
for (const test of all.flatMap(suite => suite.tests)) {
  if (test.browser_only) continue
  const kind = test.kind || 'required'
  const said = determineTestResult(all, test.id, results, false)[2]
  score[kind] ??= {}
  score[kind][said] = (score[kind][said] || 0) + 1
  if (kind !== 'check' && results[test.id] !== true) console.log(said, kind, test.id, results[test.id].join(': '))
}
console.log(score)
