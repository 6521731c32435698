# What a real zsh completes: zsh -f complete.zsh DIRECTORY < LINES, one line of words each.
# DIRECTORY holds the script as _elicit. zsh runs in a terminal of its own, and its compadd shows
# between << and >> what it adds; after every completion comes @@.
zmodload zsh/zpty
zpty -b shell zsh -f -i
read_until() {
    local part; REPLY=""
    until [[ $REPLY == *$1* ]]; do
        if zpty -r -t shell part; then REPLY+=$part; else sleep 0.02; fi
    done
}
zpty -w shell "PROMPT=; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D
compadd() { local -a found; builtin compadd -O found \"\$@\"; print -rn -- \"<<\$found>>\" }
_show() { _main_complete; print -n '@@'; compstate[insert]=; compstate[list]= }
zle -C show complete-word _show
bindkey '^I' show
print -n READ'Y'"
read_until READY
while IFS= read -r line; do
    zpty -w -n shell "$line"$'\t'
    read_until '@@'
    if [[ $REPLY == *'<<'* ]]; then print -r -- "${${REPLY#*<<}%%>>*}"; else print; fi
    zpty -w -n shell $'\C-u'
done
