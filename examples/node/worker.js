'use strict'
// A worker with the five things that a job can do: return a result, fail, raise an exception, report progress, take time.
//
//     npm ci
//     node worker.js
//
// It connects to GEARMAN_HOST and GEARMAN_PORT, which Gearpool sets for the workers that it starts, or else to localhost:4730.

const gearman = require('gearman')
const { setTimeout: sleep } = require('timers/promises')

const worker = gearman(process.env.GEARMAN_HOST || 'localhost', Number(process.env.GEARMAN_PORT || 4730))

class Failure extends Error {}

const functions = {
  async reverse (workload) {
    return Buffer.from(workload).reverse()
  },

  async fail () {
    throw new Failure()
  },

  async exception () {
    throw new Error('it went wrong')
  },

  async progress (workload, handle) {
    for (let step = 1; step <= 4; step++) {
      worker.sendWorkStatus(handle, `${step}`, '4')
      worker.sendWorkData(handle, `step ${step}\n`)
    }
    return 'done'
  },

  async sleep (workload) {
    const milliseconds = Number(workload)
    await sleep(milliseconds)
    console.log(`slept ${milliseconds} ms`)
    return `slept ${milliseconds} ms`
  }
}

async function run (job) {
  console.log(`${job.func_name}: ${job.payload.length} bytes`)
  try {
    worker.sendWorkComplete(job.handle, await functions[job.func_name](job.payload, job.handle))
  } catch (error) {
    if (error instanceof Failure) {
      worker.sendWorkFail(job.handle)
    } else {
      worker.sendWorkException(job.handle, error.message)
    }
  }
  worker.grabJob()
}

worker.on('JOB_ASSIGN', run)
worker.on('NO_JOB', () => worker.preSleep())
worker.on('NOOP', () => worker.grabJob())
worker.on('error', (error) => console.error(`worker.js: ${error.message}`))
worker.on('close', () => process.exit(1))

worker.connect(() => {
  Object.keys(functions).forEach((name) => worker.addFunction(name))
  worker.preSleep()
})
