<?php
// A worker with the five things that a job can do: return a result, fail, raise an exception, report progress, take time.
//
//     apt-get install php-cli php-gearman
//     php worker.php
//
// It connects to GEARMAN_HOST and GEARMAN_PORT, which Gearpool sets for the workers that it starts, or else to localhost:4730.

$worker = new GearmanWorker();
$worker->addServer(getenv("GEARMAN_HOST") ?: "localhost", (int) (getenv("GEARMAN_PORT") ?: 4730));

$worker->addFunction("reverse", function (GearmanJob $job) {
    echo "reverse: {$job->workloadSize()} bytes\n";
    return strrev($job->workload());
});

$worker->addFunction("fail", function (GearmanJob $job) {
    echo "fail\n";
    $job->sendFail();
});

$worker->addFunction("exception", function (GearmanJob $job) {
    echo "exception\n";
    $job->sendException("it went wrong");
});

$worker->addFunction("progress", function (GearmanJob $job) {
    echo "progress\n";
    for ($step = 1; $step <= 4; $step++) {
        $job->sendStatus($step, 4);
        $job->sendData("step $step\n");
    }
    return "done";
});

$worker->addFunction("sleep", function (GearmanJob $job) {
    $milliseconds = (int) $job->workload();
    usleep($milliseconds * 1000);
    echo "slept $milliseconds ms\n";
    return "slept $milliseconds ms";
});

while ($worker->work());

fwrite(STDERR, "worker.php: " . $worker->error() . "\n");
exit(1);
