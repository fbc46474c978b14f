package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write the answers of TestMistakes anew")

// TestMistakes: what analysts type, and what `policy lint` says to it. All of it is about the installation of answers.txtar.
func TestMistakes(t *testing.T) {
	const dir = "testdata/mistakes"
	installation := mistakes(t, filepath.Join(dir, "answers.txtar"))
	for _, name := range []string{"answers.txtar", "languages.txtar"} {
		t.Run(name, func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			archive, answers := mistakes(t, file), map[string]string{}
			t.Chdir(t.TempDir())
			for _, f := range append(slices.Clone(installation.Files), archive.Files...) {
				if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
					answers[name] = string(f.Data)
				} else if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			compareAnswers(t, file, archive, answers)
		})
	}
}

func mistakes(t *testing.T, file string) *txtar.Archive {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

func compareAnswers(t *testing.T, file string, archive *txtar.Archive, answers map[string]string) {
	var written []txtar.File
	points, graded := 0, 0
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".want") {
			continue
		}
		written = append(written, f)
		name, ok := strings.CutSuffix(f.Name, ".yaml")
		if !ok || name == "sallyport" || name == "policy" {
			continue
		}
		got := lintAnswer(t, f.Name)
		grade, want, _ := strings.Cut(answers[name], "\n")
		switch grade {
		case "right":
		case "1", "2", "3":
			points, graded = points+int(grade[0]-'0'), graded+1
		default:
			if !*update {
				t.Errorf("%s has the grade %q", name, grade)
			}
		}
		if got != want && !*update {
			t.Errorf("%s:\n%s\nwant:\n%s", f.Name, got, want)
		}
		written = append(written, txtar.File{Name: name + ".want", Data: []byte(grade + "\n" + got)})
	}
	if mean := float64(points) / float64(max(graded, 1)); mean < 2.8 && !*update {
		t.Errorf("the mean grade of %d answers is %.2f", graded, mean)
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: written}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// lintAnswer is all that `policy lint FILE` prints, without empty lines.
func lintAnswer(t *testing.T, file string) string {
	var out bytes.Buffer
	err := policyLintCmd{File: file}.Run(&globals{Config: "sallyport.yaml"}, stdio{out: &out, err: &out})
	if err != nil && err != errNo {
		out.WriteString(err.Error() + "\n")
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
