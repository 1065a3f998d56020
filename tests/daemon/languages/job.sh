# A job that says what it was given, and is stuck or kills its worker when it is told to.

what=$(cat)
echo "got $what" >&2
case "$what" in
stuck) exec sleep 1000 ;;
die) kill -KILL "$PPID"; exec sleep 1000 ;;
esac
printf 'did %s' "$what"
