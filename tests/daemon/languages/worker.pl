# A worker that says what it was given, and is stuck or dies when it is told to.

use strict;
use warnings;

use Gearman::Worker;

$| = 1;
my $worker = Gearman::Worker->new(job_servers => [$ENV{GEARMAN_SERVER}]);
$worker->register_function($ENV{GEARPOOL_POOL} => sub {
    my $what = shift->arg;
    print "got $what\n";
    sleep 1000 if $what eq 'stuck';
    kill KILL => $$ if $what eq 'die';
    return "did $what";
});
$worker->work while 1;
