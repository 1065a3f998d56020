<?php
// A worker as people write it. Under supervisord, which has no job server, it only sleeps.
$fifo = fopen($argv[1], 'r+');
fwrite($fifo, pack('llq', getmypid(), 0, hrtime(true)));
if (!getenv('GEARMAN_HOST')) {
    sleep(1000000);
}
$worker = new GearmanWorker();
$worker->addServer(getenv('GEARMAN_HOST'), (int) getenv('GEARMAN_PORT'));
$worker->addFunction('bench', fn ($job) => '');
while ($worker->work());
