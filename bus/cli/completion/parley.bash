# Completion of parley(1) for bash.
#
# Commands and options are what `parley --help` says of itself; names of interfaces, methods and so
# on come from the broker: where none answers at once there are none.

_parley_ask()
{
    timeout 1 parley --timeout 500ms "$@" 2>/dev/null
}

# What the words behind the program's name are explained as: "--url URL", "--json", a line each; of a
# short one -u, too.
_parley_options()
{
    parley "$@" --help 2>/dev/null | sed -nE 's/^ +((-.), )?(--[a-z-]+)( [A-Z]+)? .*/\3\4\n\2\4/p'
}

_parley_commands()
{
    parley --help 2>/dev/null | sed -nE '/^Commands:/,/^$/s/^  ([a-z]+) .*/\1/p'
    echo help
}

# The column of a table.
_parley_column()
{
    awk -v column="$1" 'NR > 1 { print $column }'
}

# Not by compgen -W, which expands words: a name that says $(...) would be run.
_parley_offer() # WORDS: those that go on with what has been typed
{
    local word
    while read -r word; do
        [[ -n $word && $word == "$cur"* ]] && COMPREPLY+=("$word")
    done < <(tr -s '[:space:]' '\n' <<<"$1")
}

_parley_files()
{
    mapfile -t COMPREPLY < <(compgen -f -- "$cur")
}

# What an option's value may be.
_parley_value()
{
    case $command/$prev in
    diff/-f | diff/--format) _parley_offer "text json github" ;;
    diff/-c | diff/--category) _parley_offer "WIRE_JSON WIRE" ;;
    top/-s | top/--sort) _parley_offer "name share rate errors p99 in-flight" ;;
    trace/-r | trace/--rate) _parley_offer "off show" ;;
    drain/-i | drain/--interface | trace/--interface) _parley_offer "$(_parley_ask ls --names)" ;;
    describe/-o | describe/--output | */--tls-*) _parley_files ;;
    esac
}

_parley_argument() # of the command, the COUNTth
{
    case $command/$1 in
    help/*) _parley_offer "$(_parley_commands)" ;;
    stats/1 | schemas/1 | health/1) _parley_offer "$(_parley_ask ls --names)" ;;
    describe/1) _parley_offer "$(_parley_ask ls --names) $(_parley_ask ls --methods)" ;;
    call/1) _parley_offer "$(_parley_ask ls --methods)" ;;
    call/2)
        [[ $cur == @* ]] && mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
        ;;
    diff/* | publish/1) _parley_files ;;
    route/1) _parley_offer "$(_parley_ask ls --names)" ;;
    route/*)
        compopt -o nospace 2>/dev/null
        _parley_offer "$(_parley_ask route "${words[1]}" | _parley_column 2 | sed 's/$/=/')"
        ;;
    rollout/1)
        _parley_offer "ls show history apply pause resume approve promote rollback undo delete"
        ;;
    rollout/2)
        if [[ ${words[1]} == apply ]]; then
            _parley_files
        else
            _parley_offer "$(_parley_ask rollout ls | _parley_column 1)"
        fi
        ;;
    drain/1 | withdraw/1) _parley_offer "$(_parley_ask health | _parley_column 3)" ;;
    events/*)
        _parley_offer "broker instance.up instance.gone instance.drain instance.drained \
            instance.ejected instance.restored route rollout. mirror.differs schema policy \
            policy.bad refused audit. trace"
        ;;
    esac
}

_parley()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' options words=() i
    COMPREPLY=()
    # The words that are no option, and no option's value: the command, and its arguments.
    options=$(_parley_options)
    for ((i = 1; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} != -* ]]; then
            words+=("${COMP_WORDS[i]}")
            ((${#words[@]} == 1)) && command=${words[0]} && options=$(_parley_options "$command")
        elif [[ $'\n'$options == *$'\n'"${COMP_WORDS[i]} "[A-Z]* ]]; then
            ((++i < COMP_CWORD)) || { _parley_value; return; }
        fi
    done
    if [[ $cur == -* ]]; then
        _parley_offer "$(grep -oE -- '^--[a-z-]+' <<<"$options")"
    elif [[ -z $command ]]; then
        _parley_offer "$(_parley_commands)"
    else
        _parley_argument "${#words[@]}"
    fi
}

complete -F _parley parley
