# Completion of parley(1) for bash.
#
# Names of interfaces and methods come from the broker; where none answers at once there are none.

_parley_ask()
{
    timeout 1 parley --timeout 500ms ls "$1" 2>/dev/null
}

_parley_versions()
{
    timeout 1 parley --timeout 500ms route "$1" 2>/dev/null | awk 'NR > 1 { print $2 "=" }'
}

_parley_rollouts()
{
    timeout 1 parley --timeout 500ms rollout ls 2>/dev/null | awk 'NR > 1 { print $1 }'
}

# The first word behind the program's name that is no option, and no option's value.
_parley_command()
{
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -u | --url | --events | -t | --timeout) ((i++)) ;;
        -*) ;;
        *)
            echo "$i ${COMP_WORDS[i]}"
            return
            ;;
        esac
    done
}

_parley()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    local commands="ls stats top describe call route rollout drain schemas events health trace publish withdraw help"
    local rollout_actions="ls show history apply pause resume approve promote rollback undo delete"
    local options="--url --events --timeout --json --help"
    local at command
    COMPREPLY=()
    case $prev in
    -o | --output)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -f | --format)
        mapfile -t COMPREPLY < <(compgen -W "text json github" -- "$cur")
        return
        ;;
    --sort)
        mapfile -t COMPREPLY < <(compgen -W "name share rate errors p99 in-flight" -- "$cur")
        return
        ;;
    -c | --category)
        mapfile -t COMPREPLY < <(compgen -W "WIRE_JSON WIRE" -- "$cur")
        return
        ;;
    -u | --url | --events | -t | --timeout | -n | --count | -i | --interval | -l | --last | -m | --metadata | -a | --accept | -r | --reason)
        return
        ;;
    esac
    read -r at command < <(_parley_command)
    if [[ -z $command ]]; then
        [[ $cur == -* ]] && commands="$options --version"
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
        return
    fi
    if [[ $cur == -* ]]; then
        case $command in
        ls) options+=" --names --methods" ;;
        stats) options+=" --watch --verbose --interval --count" ;;
        trace) options+=" --rate --last --count --interface --status --failed --min-duration" ;;
        describe) options+=" --output" ;;
        call) options+=" --accept --metadata --one-way --list --verbose" ;;
        events) options+=" --follow --last --count" ;;
        top) options+=" --interval --sort --once --batch --count" ;;
        route) options+=" --force" ;;
        publish) options+=" --service --name --calls" ;;
        withdraw) options+=" --now" ;;
        rollout) options+=" --follow --full --reason" ;;
        esac
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi
    case $command in
    help) mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur") ;;
    stats | schemas) mapfile -t COMPREPLY < <(compgen -W "$(_parley_ask --names)" -- "$cur") ;;
    describe)
        mapfile -t COMPREPLY < <(compgen -W "$(_parley_ask --names) $(_parley_ask --methods)" -- "$cur")
        ;;
    call)
        if [[ $cur == @* ]]; then
            mapfile -t COMPREPLY < <(compgen -P @ -f -- "${cur#@}")
        elif ((COMP_CWORD == at + 1)); then
            mapfile -t COMPREPLY < <(compgen -W "$(_parley_ask --methods)" -- "$cur")
        fi
        ;;
    diff | publish) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    route)
        if ((COMP_CWORD == at + 1)); then
            mapfile -t COMPREPLY < <(compgen -W "$(_parley_ask --names)" -- "$cur")
        else
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -W "$(_parley_versions "${COMP_WORDS[at + 1]}")" -- "$cur")
        fi
        ;;
    rollout)
        if ((COMP_CWORD == at + 1)); then
            mapfile -t COMPREPLY < <(compgen -W "$rollout_actions" -- "$cur")
        elif [[ ${COMP_WORDS[at + 1]} == apply ]]; then
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        elif ((COMP_CWORD == at + 2)); then
            mapfile -t COMPREPLY < <(compgen -W "$(_parley_rollouts)" -- "$cur")
        fi
        ;;
    events)
        mapfile -t COMPREPLY < <(compgen -W "instance.up instance.gone instance.drain route rollout. schema refused broker" -- "$cur")
        ;;
    esac
}

complete -F _parley parley
