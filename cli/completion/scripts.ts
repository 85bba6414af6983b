/**
 * What a shell has to load. Each script hands the words to `isoplane complete`, so that it never grows old;
 * files are offered by the shell itself where nothing else fits.
 */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const BASH = `# isoplane completion for bash
_isoplane() {
  local IFS=$'\\n' line="\${COMP_LINE:0:COMP_POINT}" word
  local -a words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  # bash splits words at : and =; the command wants them whole.
  word="\${line##*[[:space:]]}"
  if [[ "$word" != "\${COMP_WORDS[COMP_CWORD]}" ]]; then
    local rest="\${line#*[[:space:]]}"
    IFS=$' \\t\\n' read -r -a words <<<"$rest"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    IFS=$'\\n'
  fi
  local -a found=($("\${COMP_WORDS[0]}" complete -- "\${words[@]}" 2>/dev/null))
  if [[ \${#found[@]} -eq 0 ]]; then
    compopt -o default 2>/dev/null
    COMPREPLY=()
    return
  fi
  local cut="\${word%"\${COMP_WORDS[COMP_CWORD]}"}"
  [[ "\${COMP_WORDS[COMP_CWORD]}" =~ ^[:=]$ ]] && cut="$word"
  COMPREPLY=()
  local each
  for each in "\${found[@]%%$'\\t'*}"; do COMPREPLY+=("\${each#"$cut"}"); done
  [[ \${#COMPREPLY[@]} -eq 1 && "\${COMPREPLY[0]}" == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}
complete -F _isoplane isoplane
`;

const ZSH = `#compdef isoplane
# isoplane completion for zsh
_isoplane() {
  local -a found lines
  local line
  lines=("\${(@f)$("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in $lines; do
    [[ -z $line ]] && continue
    local value=\${line%%$'\\t'*} description=\${line#*$'\\t'}
    value=\${value//:/\\\\:}
    if [[ -n $description && $description != $line ]]; then found+=("$value:$description"); else found+=("$value"); fi
  done
  if (( \${#found} )); then _describe 'isoplane' found; else _files; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _isoplane "$@"; else compdef _isoplane isoplane; fi
`;

const FISH = `# isoplane completion for fish
function __isoplane_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete -- $words[2..-1] 2>/dev/null
end
function __isoplane_has_words
    test (count (__isoplane_complete)) -gt 0
end
complete -c isoplane -f -n __isoplane_has_words -a '(__isoplane_complete)'
complete -c isoplane -F -n 'not __isoplane_has_words'
`;

export const COMPLETION_SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };

export const COMPLETION_SETUP = `
Load it once in the running shell, or for good:

  bash   echo 'source <(isoplane completion bash)' >> ~/.bashrc
  zsh    echo 'source <(isoplane completion zsh)' >> ~/.zshrc     (after compinit)
  fish   isoplane completion fish > ~/.config/fish/completions/isoplane.fish`;
