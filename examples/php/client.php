<?php
// Submits one job, and prints its result.
//
//     php client.php [-b] [-u UNIQUE] FUNCTION [WORKLOAD]
//
// Without WORKLOAD it is read from standard input. -b submits in the background and prints the job's handle; -u makes jobs
// with the same UNIQUE one job. Exits with 1 when the job fails. It connects to GEARMAN_SERVER or else to localhost:4730.

$options = getopt("bu:", [], $next);
$function = $argv[$next] ?? exit("usage: php client.php [-b] [-u UNIQUE] FUNCTION [WORKLOAD]\n");
$workload = $argv[$next + 1] ?? stream_get_contents(STDIN);
$unique = $options["u"] ?? null;

$background = isset($options["b"]);

// The second argument asks the server for exceptions, over a second connection. Nobody waits for those of a background job,
// and with two connections libgearman's doBackground() sometimes waits on the wrong one for ever.
$client = new GearmanClient();
$client->addServers(getenv("GEARMAN_SERVER") ?: "localhost:4730", !$background);

if ($background) {
    $handle = $client->doBackground($function, $workload, $unique);
    if ($client->returnCode() !== GEARMAN_SUCCESS) {
        fwrite(STDERR, "client.php: " . $client->error() . "\n");
        exit(1);
    }
    echo "$handle\n";
    exit(0);
}

$failed = false;
$client->setDataCallback(function (GearmanTask $task) {
    echo $task->data();
});
$client->setStatusCallback(function (GearmanTask $task) {
    fwrite(STDERR, "progress {$task->taskNumerator()}/{$task->taskDenominator()}\n");
});
$client->setCompleteCallback(function (GearmanTask $task) {
    echo $task->data();
});
$client->setExceptionCallback(function (GearmanTask $task) use (&$failed) {
    fwrite(STDERR, "exception: {$task->data()}\n");
    $failed = true;
});
$client->setFailCallback(function (GearmanTask $task) use (&$failed) {
    fwrite(STDERR, "job failed\n");
    $failed = true;
});

$client->addTask($function, $workload, null, $unique);
if (!$client->runTasks() && !$failed) {
    fwrite(STDERR, "client.php: " . $client->error() . "\n");
    $failed = true;
}
exit($failed ? 1 : 0);
