package configs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// What every way of deploying has in common.
const (
	deployedFile  = "/etc/gatehouse/gatehouse.yaml"
	deployedState = "/var/lib/gatehouse"
	deployedUser  = "65532:65532"
	// stopMargin is what a process needs beside its drain.
	stopMargin = 10 * time.Second
)

func deployedCommand() []string { return []string{"run", "--config", deployedFile} }

func deployedPorts() []int { return []int{80, 443} }

// needed is how many descriptors the default number of connections takes: one for the client, one
// for the upstream, and some.
const needed = 2*DefaultConnections + 1000

func readDeployed(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func equal[E comparable](t *testing.T, what string, got, want E) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func outlastsDrain(t *testing.T, what string, stop time.Duration) {
	t.Helper()
	if stop < DefaultDrain+stopMargin {
		t.Errorf("%s: the process is killed after %v, want at least the drain of %v and %v", what, stop, DefaultDrain, stopMargin)
	}
}

func TestSystemdUnit(t *testing.T) {
	t.Parallel()
	unit := map[string][]string{}
	for line := range strings.Lines(string(readDeployed(t, "gatehouse.service"))) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit[key] = append(unit[key], value)
		}
	}
	for key, want := range map[string]string{
		"Type":                "notify",
		"ExecStart":           "/usr/local/bin/gatehouse " + strings.Join(deployedCommand(), " "),
		"ExecReload":          "/bin/kill -HUP $MAINPID",
		"DynamicUser":         "yes",
		"StateDirectory":      filepath.Base(deployedState),
		"AmbientCapabilities": "CAP_NET_BIND_SERVICE",
		"NoNewPrivileges":     "yes",
	} {
		equal(t, key, strings.Join(unit[key], " "), want)
	}
	seconds, err := strconv.Atoi(strings.Join(unit["TimeoutStopSec"], ""))
	if err != nil {
		t.Fatal(err)
	}
	outlastsDrain(t, "TimeoutStopSec", time.Duration(seconds)*time.Second)
	if files, _ := strconv.Atoi(strings.Join(unit["LimitNOFILE"], "")); files < needed {
		t.Errorf("LimitNOFILE: got %d, want %d at least", files, needed)
	}
	// The reference in the unit's comment resolves as systemd sets the environment.
	c, err := Load(os.DirFS("."), "testdata/systemd.yaml", LoadOptions{
		Env: func(name string) (string, bool) {
			value, ok := map[string]string{
				"CREDENTIALS_DIRECTORY": "/run/credentials/gatehouse.service",
				"STATE_DIRECTORY":       deployedState,
			}[name]
			return value, ok
		},
		ReadFile: func(name string) ([]byte, error) {
			if name != "/run/credentials/gatehouse.service/cognito" {
				return nil, os.ErrNotExist
			}
			return []byte("0123456789abcdefghijklmnopqrstuvwxyz\n"), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "state_dir", c.StateDir, deployedState)
	equal(t, "secret", c.Secret, "0123456789abcdefghijklmnopqrstuvwxyz")
}

func TestECSTaskDefinition(t *testing.T) {
	t.Parallel()
	var task struct {
		ContainerDefinitions []struct {
			User                   string
			ReadonlyRootFilesystem bool
			Command                []string
			StopTimeout            int
			PortMappings           []struct{ ContainerPort int }
			Environment            []struct{ Name, Value string }
			Secrets                []struct{ Name, ValueFrom string }
			MountPoints            []struct{ SourceVolume, ContainerPath string }
			HealthCheck            struct{ Command []string }
			Ulimits                []struct{ SoftLimit int }
		}
		Volumes []struct{ Name string }
	}
	if err := json.Unmarshal(readDeployed(t, "ecs-task-definition.json"), &task); err != nil {
		t.Fatal(err)
	}
	c := task.ContainerDefinitions[0]
	equal(t, "user", c.User, deployedUser)
	equal(t, "readonlyRootFilesystem", c.ReadonlyRootFilesystem, true)
	equal(t, "command", strings.Join(c.Command, " "), strings.Join(deployedCommand(), " "))
	equal(t, "healthCheck", strings.Join(c.HealthCheck.Command, " "), "CMD /gatehouse health")
	equal(t, "mountPoints", c.MountPoints[0].ContainerPath, deployedState)
	equal(t, "volume", c.MountPoints[0].SourceVolume, task.Volumes[0].Name)
	equal(t, "environment", c.Environment[0].Name+"="+c.Environment[0].Value, "STATE_DIRECTORY="+deployedState)
	var ports []int
	for _, p := range c.PortMappings {
		ports = append(ports, p.ContainerPort)
	}
	slices.Sort(ports)
	if !slices.Equal(ports, deployedPorts()) {
		t.Errorf("ports: got %v, want %v", ports, deployedPorts())
	}
	outlastsDrain(t, "stopTimeout", time.Duration(c.StopTimeout)*time.Second)
	if c.StopTimeout > 120 {
		t.Errorf("stopTimeout: got %d s, Fargate takes 120 at most", c.StopTimeout)
	}
	if c.Ulimits[0].SoftLimit < needed {
		t.Errorf("nofile: got %d, want %d at least", c.Ulimits[0].SoftLimit, needed)
	}
	if _, ok := exampleOptions().Env(c.Secrets[0].Name); !ok {
		t.Errorf("secrets: no example refers to ${env:%s}", c.Secrets[0].Name)
	}
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	var compose struct {
		Services map[string]struct {
			User      string         `yaml:"user"`
			Command   []string       `yaml:"command"`
			Ports     []string       `yaml:"ports"`
			Volumes   []string       `yaml:"volumes"`
			Secrets   []string       `yaml:"secrets"`
			ReadOnly  bool           `yaml:"read_only"`
			CapDrop   []string       `yaml:"cap_drop"`
			StopGrace string         `yaml:"stop_grace_period"`
			Ulimits   map[string]int `yaml:"ulimits"`
			Networks  []string       `yaml:"networks"`
		} `yaml:"services"`
		Secrets  map[string]any `yaml:"secrets"`
		Networks map[string]struct {
			Internal bool `yaml:"internal"`
		} `yaml:"networks"`
	}
	if err := yaml.Unmarshal(readDeployed(t, "compose.yaml"), &compose); err != nil {
		t.Fatal(err)
	}
	c := compose.Services["gatehouse"]
	equal(t, "user", c.User, deployedUser)
	equal(t, "read_only", c.ReadOnly, true)
	equal(t, "cap_drop", strings.Join(c.CapDrop, " "), "ALL")
	equal(t, "command", strings.Join(c.Command, " "), strings.Join(deployedCommand(), " "))
	equal(t, "volumes", strings.Join(c.Volumes, " "), "./gatehouse.yaml:"+deployedFile+":ro state:"+deployedState)
	equal(t, "ports", strings.Join(c.Ports, " "), "443:443 80:80")
	if _, ok := compose.Secrets[c.Secrets[0]]; !ok {
		t.Errorf("secrets: %s is not declared", c.Secrets[0])
	}
	if _, err := exampleOptions().ReadFile("/run/secrets/" + c.Secrets[0]); err != nil {
		t.Errorf("secrets: no example refers to ${file:/run/secrets/%s}", c.Secrets[0])
	}
	stop, err := time.ParseDuration(c.StopGrace)
	if err != nil {
		t.Fatal(err)
	}
	outlastsDrain(t, "stop_grace_period", stop)
	if c.Ulimits["nofile"] < needed {
		t.Errorf("nofile: got %d, want %d at least", c.Ulimits["nofile"], needed)
	}
	if app := compose.Services["app"]; len(app.Ports) > 0 || len(app.Networks) != 1 || !compose.Networks[app.Networks[0]].Internal {
		t.Error("the app can be reached beside Gatehouse")
	}
}

func TestDockerfileAgrees(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?m)^USER 65532:65532$`,
		`(?m)^ENV STATE_DIRECTORY=/var/lib/gatehouse TMPDIR=/var/lib/gatehouse$`, // scratch has no /tmp
		`(?m)^VOLUME /var/lib/gatehouse$`,
		`(?m)^EXPOSE 80 443$`,
		`(?m)^HEALTHCHECK .*CMD \["/gatehouse", "health"\]$`,
		`(?m)^ENTRYPOINT \["/gatehouse"\]$`,
		`(?m)^CMD \["run", "--config", "/etc/gatehouse/gatehouse.yaml"\]$`,
	} {
		if !regexp.MustCompile(want).Match(data) {
			t.Errorf("the Dockerfile has no line %s", want)
		}
	}
}
