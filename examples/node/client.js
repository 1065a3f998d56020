'use strict'
// Submits one job, and prints its result.
//
//     npm ci
//     node client.js [-b] [-u UNIQUE] FUNCTION [WORKLOAD]
//
// Without WORKLOAD it is read from standard input. -b submits in the background and prints the job's handle; -u makes jobs
// with the same UNIQUE one job. Exits with 1 when the job fails. It connects to GEARMAN_HOST and GEARMAN_PORT or else to
// localhost:4730.

const fs = require('fs')
const { parseArgs } = require('util')
const gearman = require('gearman')

const { values: option, positionals: [name, argument] } = parseArgs({
  allowPositionals: true,
  options: {
    background: { type: 'boolean', short: 'b', default: false },
    unique: { type: 'string', short: 'u' }
  }
})
if (name === undefined) {
  console.error('usage: node client.js [-b] [-u UNIQUE] FUNCTION [WORKLOAD]')
  process.exit(2)
}
const workload = argument === undefined ? fs.readFileSync(0) : Buffer.from(argument)

const client = gearman(process.env.GEARMAN_HOST || 'localhost', Number(process.env.GEARMAN_PORT || 4730))

// A connection that is lost before the job has ended is a failure too.
process.exitCode = 1

function end (status, message) {
  if (message) console.error(message)
  process.exitCode = status
  client.close()
}

client.on('JOB_CREATED', (handle) => {
  if (!option.background) return
  console.log(handle)
  end(0)
})
client.on('WORK_DATA', (job) => process.stdout.write(job.payload))
client.on('WORK_STATUS', (job) => console.error(`progress ${job.percent_num}/${job.percent_den}`))
client.on('WORK_COMPLETE', (job) => {
  process.stdout.write(job.payload)
  end(0)
})
client.on('WORK_EXCEPTION', (job) => end(1, `exception: ${job.exception}`))
client.on('WORK_FAIL', () => end(1, 'job failed'))
client.on('ERROR', (code, text) => end(1, `client.js: ${code}: ${text}`))
client.on('error', (error) => end(1, `client.js: ${error.message}`))

client.connect(() => {
  client.setOption('exceptions')
  client.submitJob(name, workload, { background: option.background, unique_id: option.unique })
})
