<?php
// A worker whose code goes on for 100 ms after each job's result was sent, with the pecl library.
//
//     php worker.php FUNCTION [flag]
//
// A job's workload is its number and how many milliseconds it takes. Lines in the file `notes` say how far it came. With `flag`, TERM
// only sets one, which is asked about between jobs, as many workers do it.

$stop = false;
if (in_array("flag", $argv)) {
    pcntl_async_signals(true);
    pcntl_signal(SIGTERM, function () use (&$stop) {
        $stop = true;
    });
}

$note = fn(string $text) => file_put_contents("notes", "$text\n", FILE_APPEND);
// a signal that is handled ends a sleep
$sleep = function (int $milliseconds): void {
    $until = hrtime(true) + $milliseconds * 1_000_000;
    while (($left = $until - hrtime(true)) > 0) {
        usleep(intdiv($left, 1000));
    }
};

$worker = new GearmanWorker();
$worker->addServer(getenv("GEARMAN_HOST"), (int) getenv("GEARMAN_PORT"));
$job_done = null;
$worker->addFunction($argv[1], function (GearmanJob $job) use ($note, $sleep, &$job_done): string {
    [$number, $milliseconds] = explode(" ", $job->workload());
    $note("begin $number");
    $sleep((int) $milliseconds);
    $note("end $number");
    $job_done = $number;
    return $number;
});
while (!$stop && $worker->work()) {
    $sleep(100);
    $note("tail $job_done");
}
