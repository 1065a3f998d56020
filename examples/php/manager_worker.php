<?php
// A worker for code that was written for GearmanManager (with the gearman extension):
//
//     php manager_worker.php [--prefix=PREFIX] [--timeout=SECONDS] FOLDER[,FOLDER…] FUNCTION…
//
// For each FUNCTION it loads FOLDER/FUNCTION.php, which defines a function FUNCTION($job, &$log) or a class FUNCTION with a method
// run($job, &$log), both with PREFIX before the name if there is one. What they put into $log is printed, and so is in the log.

$options = ['prefix' => '', 'timeout' => '0'];
$words = array_slice($argv, 1);
while ($words && preg_match('/^--(prefix|timeout)=(.*)$/', $words[0], $option)) {
    $options[$option[1]] = $option[2];
    array_shift($words);
}
if (count($words) < 2) {
    fwrite(STDERR, "usage: php manager_worker.php [--prefix=PREFIX] [--timeout=SECONDS] FOLDER[,FOLDER] FUNCTION...\n");
    exit(2);
}
$folders = explode(',', array_shift($words));

$worker = new GearmanWorker();
$worker->addServer(getenv('GEARMAN_HOST') ?: '127.0.0.1', (int) (getenv('GEARMAN_PORT') ?: 4730));

foreach ($words as $name) {
    foreach ($folders as $folder) {
        if (is_file("$folder/$name.php")) {
            require_once "$folder/$name.php";
        }
    }
    $called = $options['prefix'] . $name;
    if (class_exists($called)) {
        $code = [new $called(), 'run'];
    } elseif (function_exists($called)) {
        $code = $called;
    } else {
        fwrite(STDERR, "no function or class $called in $name.php of " . implode(', ', $folders) . "\n");
        exit(1);
    }
    $do = function (GearmanJob $job) use ($code, $name) {
        $log = [];
        // called by its name and not through call_user_func, which would not pass $log by reference
        $result = is_array($code) ? $code[0]->run($job, $log) : $code($job, $log);
        foreach ($log as $line) {
            echo "($name) ", is_scalar($line) ? $line : json_encode($line), "\n";
        }
        return is_scalar($result) || $result === null ? (string) $result : serialize($result);
    };
    $worker->addFunction($name, $do, null, (int) $options['timeout']);
}

while ($worker->work());
