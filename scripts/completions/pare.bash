# bash completion of pare. Commands and options are read from its own help.
_pare()
{
    local cur=${COMP_WORDS[COMP_CWORD]} pare=${COMP_WORDS[0]} command=${COMP_WORDS[1]}
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$("$pare" --help 2>/dev/null | sed -n 's/^  \([a-z]*\)  .*/\1/p') --help --version" -- "$cur")
    elif [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$pare" "$command" --help 2>/dev/null |
            sed -n 's/^ \{2,6\}\(-[^ ].*\)/\1/p' | grep -oE '^(-[A-Za-z], )?--?[A-Za-z][A-Za-z-]*' | tr -d ,) --help" -- "$cur")
    fi
}
complete -o default -F _pare pare
