# fish completion of pare. Commands and options are read from its own help.
function __pare_commands
    pare --help 2>/dev/null | string replace -rf '^  ([a-z]+) +(.*)' '$1\t$2'
end

function __pare_options
    set -l words (commandline -opc)
    pare $words[2] --help 2>/dev/null | string replace -rf '^ {2,6}(?:-[A-Za-z], )?(--?[A-Za-z][A-Za-z-]*)\S*(?: [A-Z]\S*)? +(.*)' '$1\t$2'
end

complete -c pare -n 'test (count (commandline -opc)) -eq 1' -f -a '(__pare_commands)'
complete -c pare -n 'test (count (commandline -opc)) -gt 1; and string match -q -- "-*" (commandline -ct)' -f -a '(__pare_options)'
