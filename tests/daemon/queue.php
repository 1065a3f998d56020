<?php
// The tutorial's client.
//
//     php queue.php URL PORT

$client = new GearmanClient();
$client->addServer("127.0.0.1", (int) $argv[2]);
$client->addTaskBackground("fetchURL", json_encode(["url" => $argv[1]]));
exit($client->runTasks() ? 0 : 1);
