<?php
// The worker of the tutorial: fetches the URL that a job names.
//
//     php fetch.php
//     gearpool submit fetchURL '{"url": "http://www.example.com/"}'
//
// Or let Gearpool start as many as the queue needs: `fetchURL: {cmd: "php fetch.php", min: 2, max: 30}` in workers.yaml.

$worker = new GearmanWorker();
$worker->addServer("localhost", 4730);
$worker->addFunction("fetchURL", "fetchURL");

while ($worker->work());

function fetchURL($job)
{
    $workload = json_decode($job->workload(), true);
    $url = $workload["url"] ?? "";

    $page = @file_get_contents($url);
    if ($page === false) {
        echo "could not fetch $url\n";
        $job->sendFail();
        return;
    }

    echo "fetched $url, " . strlen($page) . " bytes\n";
    return $page;
}
