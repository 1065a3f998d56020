'use strict'
// A worker that says what it was given, and is stuck or dies when it is told to.

const worker = require('gearman')(process.env.GEARMAN_HOST, Number(process.env.GEARMAN_PORT))

worker.on('JOB_ASSIGN', (job) => {
  const what = job.payload.toString()
  console.log(`got ${what}`)
  if (what === 'stuck') {
    return
  }
  if (what === 'die') {
    process.kill(process.pid, 'SIGKILL')
  }
  worker.sendWorkComplete(job.handle, `did ${what}`)
  worker.grabJob()
})
worker.on('NO_JOB', () => worker.preSleep())
worker.on('NOOP', () => worker.grabJob())
worker.on('close', () => process.exit(1))
worker.connect(() => {
  worker.addFunction(process.env.GEARPOOL_POOL)
  worker.preSleep()
})
