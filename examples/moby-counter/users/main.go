// The users service: accounts in PostgreSQL, one image per user in a folder.
//
// Three defects below are the tutorial's material, and each shows in the stored state alone:
//   - An account may have an empty name, and its image is stored as the default image of everyone.
//     An account named "default" has the same effect.
//   - An upload does not truncate the file, so that a shorter image leaves the tail of the old one.
//   - There is no list of users, so nobody has noticed yet that it will need pages.
package main

import (
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "github.com/lib/pq"
)

const (
	maxName   = 64
	maxUpload = 16 << 20
	schema    = `CREATE TABLE IF NOT EXISTS users (id SERIAL PRIMARY KEY, username TEXT UNIQUE NOT NULL)`
)

//go:embed default.png
var defaultImage []byte

type user struct {
	Id   int64
	Name string
}

type service struct {
	db    *sql.DB
	store string
	debug bool
}

func main() {
	// As process 1 of its container it would otherwise not hear of being stopped.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-stop; os.Exit(0) }()

	db, err := sql.Open("postgres", fmt.Sprintf(
		"host=%s port=%s user=%s dbname=%s password=%s sslmode=disable connect_timeout=3",
		os.Getenv("DB_HOST"), os.Getenv("DB_PORT"), os.Getenv("DB_USER"), os.Getenv("DB_NAME"), os.Getenv("DB_PASSWORD")))
	if err != nil {
		log.Fatal(err)
	}
	// One connection per request: the database may be another one after a checkout.
	db.SetMaxIdleConns(0)

	s := service{db: db, store: os.Getenv("IMAGE_STORE"), debug: os.Getenv("DEBUG") != ""}
	for err = s.prepare(); err != nil; err = s.prepare() {
		log.Printf("not ready yet: %v", err)
		time.Sleep(500 * time.Millisecond)
	}
	http.HandleFunc("/login", s.login)
	http.HandleFunc("/users/", s.image)
	log.Print("users: listening on port 8000")
	log.Fatal(http.ListenAndServe(":8000", nil))
}

// prepare makes the table and the default image when they are missing.
func (s service) prepare() error {
	if _, err := s.db.Exec(schema); err != nil {
		return err
	}
	file, err := os.OpenFile(s.imagePath("default"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(defaultImage)
	return err
}

// login answers with the user of the given name, and creates it at its first login.
func (s service) login(w http.ResponseWriter, r *http.Request) {
	var asked user
	if r.Method != http.MethodPost {
		http.Error(w, "Log in with POST", http.StatusMethodNotAllowed)
		return
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked); err != nil {
		http.Error(w, `A login is sent as {"Name": "..."}`, http.StatusBadRequest)
		return
	}
	// The name becomes a file name.
	if len(asked.Name) > maxName || strings.ContainsAny(asked.Name, "/\x00") {
		http.Error(w, "A user name has at most 64 characters and no slash", http.StatusBadRequest)
		return
	}
	found := user{Name: asked.Name}
	_, err := s.db.Exec(`INSERT INTO users (username) SELECT $1::text
		WHERE NOT EXISTS (SELECT 1 FROM users WHERE username = $1) ON CONFLICT DO NOTHING`, asked.Name)
	if err == nil {
		err = s.db.QueryRow(`SELECT id FROM users WHERE username = $1`, asked.Name).Scan(&found.Id)
	}
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(found)
}

// image serves /users/{id}/image: GET answers with the user's image, POST replaces it.
func (s service) image(w http.ResponseWriter, r *http.Request) {
	text, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/users/"), "/")
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || rest != "image" {
		http.NotFound(w, r)
		return
	}
	u := user{Id: id}
	err = s.db.QueryRow(`SELECT username FROM users WHERE id = $1`, id).Scan(&u.Name)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		http.Error(w, "There is no such user", http.StatusNotFound)
	case err != nil:
		unavailable(w, err)
	case r.Method == http.MethodPost:
		s.setImage(w, r, u)
	default:
		s.getImage(w, u)
	}
}

func (s service) getImage(w http.ResponseWriter, u user) {
	bytes, err := os.ReadFile(s.imagePath(u.Name))
	if errors.Is(err, os.ErrNotExist) {
		bytes, err = os.ReadFile(s.imagePath("default"))
	}
	if err != nil {
		unavailable(w, err)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(bytes)
}

func (s service) setImage(w http.ResponseWriter, r *http.Request, u user) {
	r.Body = http.MaxBytesReader(w, r.Body, maxUpload)
	upload, _, err := r.FormFile("uploadfile")
	if err != nil {
		http.Error(w, "An image is sent as the form field uploadfile", http.StatusBadRequest)
		return
	}
	defer upload.Close()
	name := s.imagePath(u.Name)
	if s.debug {
		log.Printf("[SetImageForUser] using image filename %v for user name=%v id=%v", name, u.Name, u.Id)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = io.Copy(file, upload)
		if closed := file.Close(); err == nil {
			err = closed
		}
	}
	if err != nil {
		unavailable(w, err)
		return
	}
	http.Redirect(w, r, fmt.Sprintf("/?user=%d", u.Id), http.StatusMovedPermanently)
}

// imagePath is the file of the user with this name.
func (s service) imagePath(name string) string {
	if name == "" {
		name = "default"
	}
	return filepath.Join(s.store, name+".png")
}

func unavailable(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "The users service cannot reach its data", http.StatusServiceUnavailable)
}
