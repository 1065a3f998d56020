<?php
// The worker of these tests, with the pecl library.
//
//     php worker.php [CHILDREN | stubborn]
//
// A job's workload is a list of steps with semicolons between them, done in order:
//     say TEXT      writes a line to standard output
//     note TEXT     appends a line to the file `notes`
//     sleep MS      takes time
//     until FILE    waits until there is such a file
//     grow MIB      takes so much memory, and keeps it
//     show NAME     adds an environment variable to the result
//     die FILE      kills its own process with KILL, unless there is such a file, which it makes first
// The result is the process id, and what `show` showed. With CHILDREN, so many children are forked, each with a connection.
// A stubborn one takes TERM as a wish to be asked about between jobs, as many workers do; idle, it never gets there by itself.

for ($child = 0; $child < (int) ($argv[1] ?? 0); $child++) {
    if (pcntl_fork() === 0) {
        work();
    }
}
if ($child > 0) {
    while (pcntl_wait($status) > 0);
    exit(0);
}
work();

function work(): never
{
    $worker = new GearmanWorker();
    $worker->addServer(getenv("GEARMAN_HOST"), (int) getenv("GEARMAN_PORT"));
    $worker->addFunction(getenv("FUNCTION") ?: getenv("GEARPOOL_POOL"), "steps");
    $stop = false;
    if (in_array("stubborn", $GLOBALS["argv"])) {
        pcntl_async_signals(true);
        pcntl_signal(SIGTERM, function () use (&$stop) {
            $stop = true;
        });
    }
    while (!$stop && $worker->work());
    if ($stop) {
        echo "stopped as asked\n";
        exit(0);
    }
    fwrite(STDERR, $worker->error() . "\n");
    exit(1);
}

function steps(GearmanJob $job): string
{
    $result = (string) getmypid();
    foreach (explode(";", $job->workload()) as $step) {
        [$verb, $what] = explode(" ", trim($step), 2) + ["", ""];
        switch ($verb) {
            case "say":
                echo "$what\n";
                break;
            case "note":
                file_put_contents("notes", "$what\n", FILE_APPEND | LOCK_EX);
                break;
            case "sleep":
                usleep((int) $what * 1000);
                break;
            case "until":
                while (!file_exists($what)) {
                    usleep(5000);
                    clearstatcache();
                }
                break;
            case "show":
                $result .= " " . getenv($what);
                break;
            case "grow":
                $GLOBALS["kept"][] = str_repeat("x", (int) $what << 20);
                break;
            case "die":
                if (!file_exists($what)) {
                    touch($what);
                    posix_kill(getmypid(), SIGKILL);
                }
                break;
            default:
                $job->sendFail();
                return "";
        }
    }
    return $result;
}
