# The same worker with Perl's library.
#
#     perl worker.pl FUNCTION

use strict;
use warnings;

use Gearman::Worker;
use Time::HiRes 'sleep';

my ($function) = @ARGV;

sub note {
    open my $file, '>>', 'notes' or die $!;
    syswrite $file, "$_[0]\n" or die $!;
}

my $stop;
$SIG{TERM} = sub { $stop = 1 };

my $done;
my $worker = Gearman::Worker->new(job_servers => ["$ENV{GEARMAN_HOST}:$ENV{GEARMAN_PORT}"]);
$worker->register_function($function => sub {
    my ($number, $milliseconds) = split / /, shift->arg;
    note("begin $number");
    sleep($milliseconds / 1000);
    note("end $number");
    $done = $number;
    return $number;
});
# called when the result has been sent
my $after = sub {
    sleep(0.1);
    note("tail $done");
};
$worker->work(on_complete => $after, stop_if => sub { $stop }) until $stop;
